"""A simulated patient: body, organs, kidneys and the lesion of one class, cut into CT slices.

Anatomy is drawn from soft ellipses in Hounsfield units, in radiological view: the left of the image is the patient's
right. Source of attenuation values: Kamalian et al. 2016, Handb Clin Neurol 135:3-20 (fat -100, water 0, soft tissue 20
to 80, bone 300 to 1000), rounded.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from kidney_core.simulation.canvas import Canvas, Wobble, draw_wobble

AXIAL, CORONAL = "axial", "coronal"


class Anatomy:
    """One simulated patient with random anatomy and, unless `label` is "Normal", one lesion; lengths in millimetres."""

    def __init__(self, label: str, rng: np.random.Generator) -> None:
        self.label = label
        self.plane = AXIAL if rng.random() < 0.6 else CORONAL
        # Scans for stones are mostly unenhanced, scans for masses mostly enhanced.
        self.contrast = bool(rng.random() < (0.25 if label == "Stone" else 0.75))
        self.size = rng.uniform(0.88, 1.1)
        self.fat_mm = rng.uniform(8, 26)
        self.shift = rng.uniform(-6, 6, size=2)
        self.wobbles = [draw_wobble(rng, 0.05) for _ in range(12)]
        self.bowel = rng.uniform(0, 1, size=(14, 5))
        self.kidney_scale = rng.uniform(0.9, 1.12, size=2)
        self.kidney_tilt = rng.uniform(-0.15, 0.15, size=2)
        self.kidney_drop = rng.uniform(-8, 8, size=2)
        self.noise_hu = rng.uniform(7, 16)
        self.table = rng.uniform(8, 20)
        self.side = int(rng.integers(2))
        self._draw_lesion(rng)

    def _draw_lesion(self, rng: np.random.Generator) -> None:
        self.lesion_angle = rng.uniform(0, 2 * np.pi)
        self.lesion_wobble = draw_wobble(rng, 0.28 if self.label == "Tumor" else 0.04)
        self.lesion_radius = {
            "Cyst": rng.uniform(11, 26),
            "Tumor": rng.uniform(15, 34),
            "Stone": rng.uniform(2.6, 7),
        }.get(self.label, 0.0)
        self.lesion_hu = {
            "Cyst": rng.uniform(0, 14),
            "Stone": rng.uniform(420, 1200),
            "Tumor": rng.uniform(75, 110) if self.contrast else rng.uniform(36, 48),
        }.get(self.label, 0.0)
        self.necrosis = rng.random() < 0.6
        self.n_stones = int(rng.integers(1, 4))
        self.stone_spread = rng.uniform(-1, 1, size=(3, 2))

    def slice_at(self, height: float, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the slice at `height`, from -1 to 1 along the scan, with the noise of a scanner.

        Returns:
            (256, 256) float32 Hounsfield units, the (256, 256) bool mask of the lesion, and the (2, 256, 256) bool masks of
            the right and the left kidney, to which a lesion belongs.
        """
        canvas = Canvas(noise)
        self._axial(canvas, height) if self.plane == AXIAL else self._coronal(canvas, height)
        lesion, kidneys = self._kidneys(canvas, height)
        blurred = gaussian_filter(canvas.hu, 0.8)
        grain = gaussian_filter(noise.normal(size=blurred.shape), 0.6)
        blurred += grain / grain.std() * self.noise_hu
        hu = np.clip(blurred, -1024, 3071).astype(np.float32)
        return hu, lesion, kidneys

    def _axial(self, canvas: Canvas, height: float) -> None:
        s, (x0, y0) = self.size, self.shift
        rx, ry = 158 * s + 4 * height, 112 * s
        self._table(canvas, x0, y0 + ry)
        self._wall(canvas, x0, y0, rx, ry, power=2.3)
        enhanced = 55 if self.contrast else 0
        liver = canvas.blob(
            x0 - 78 * s, y0 - 22 * s, (66 - 16 * height) * s, (58 - 12 * height) * s, wobble=self.wobbles[0]
        )
        spleen = canvas.blob(x0 + 108 * s, y0 + 8 * s, (24 - 8 * height) * s, (40 - 12 * height) * s, angle=0.3)
        inside = self.inside
        canvas.paint(liver & inside, 56 + enhanced, texture=4)
        canvas.paint(spleen & inside, 48 + 1.3 * enhanced, texture=4)
        self._bowel(canvas, x0 + 20 * s, y0 - 48 * s, 95 * s, 34 * s, height)
        for sign in (-1, 1):
            psoas = canvas.blob(x0 + sign * 33 * s, y0 + 40 * s, (13 + 3 * height) * s, 18 * s, angle=-0.2 * sign)
            back = canvas.blob(x0 + sign * 34 * s, y0 + 84 * s, 30 * s, 18 * s, angle=0.12 * sign)
            canvas.paint((psoas | back) & inside, 55 + 0.2 * enhanced, texture=4)
        vessel = 45 + 3 * enhanced
        canvas.paint(canvas.blob(x0 + 12 * s, y0 + 12 * s, 10 * s, 10 * s), vessel)
        canvas.paint(canvas.blob(x0 - 16 * s, y0 + 13 * s, 12 * s, 9 * s), 0.8 * vessel)
        self._vertebra(canvas, x0, y0 + 44 * s, s)
        for k, angle in enumerate((0.35, 0.75, 1.15, np.pi - 0.35, np.pi - 0.75, np.pi - 1.15)):
            rib_x = x0 + (rx - self.fat_mm - 8) * np.cos(angle + 0.08 * height)
            rib_y = y0 + (ry - self.fat_mm - 8) * np.sin(angle + 0.08 * height)
            rib = canvas.blob(rib_x, rib_y, 11 * s, 4 * s, angle=angle + np.pi / 2)
            canvas.paint(rib, 480 if k % 2 else 380, texture=40)

    def _table(self, canvas: Canvas, x0: float, skin_y: float) -> None:
        x, y = np.meshgrid(canvas.span, canvas.span)
        arc = np.abs(np.hypot(x - x0, y - skin_y + 352) - 364 - self.table) < 2.2
        canvas.paint(arc & (np.abs(x - x0) < 150), 130)

    def _wall(self, canvas: Canvas, x0: float, y0: float, rx: float, ry: float, *, power: float) -> None:
        wobble, fat = self.wobbles[1], self.fat_mm
        canvas.paint(canvas.blob(x0, y0, rx, ry, wobble=wobble, power=power), 15)  # skin
        canvas.paint(canvas.blob(x0, y0, rx - 2.5, ry - 2.5, wobble=wobble, power=power), -105, texture=5)
        wall = canvas.blob(x0, y0, rx - fat, ry - fat, wobble=wobble, power=power)
        canvas.paint(wall, 52, texture=5)
        self.inside = canvas.blob(x0, y0, rx - fat - 12, ry - fat - 12, wobble=wobble, power=power)
        canvas.paint(self.inside, -98, texture=8)

    def _bowel(self, canvas: Canvas, x: float, y: float, rx: float, ry: float, height: float) -> None:
        for a, b, size, gas, phase in self.bowel:
            cx = x + (2 * a - 1) * rx + 5 * np.sin(3 * height + 6 * phase)
            cy = y + (2 * b - 1) * ry
            radius = 9 + 10 * size
            loop = canvas.blob(cx, cy, radius * 1.25, radius, angle=phase * 3, wobble=self.wobbles[2]) & self.inside
            canvas.paint(loop, 32 + (25 if self.contrast else 0), texture=7)
            if gas < 0.35:
                canvas.paint(canvas.blob(cx, cy - radius * 0.3, radius * 0.7, radius * 0.4) & loop, -750)

    def _vertebra(self, canvas: Canvas, x: float, y: float, s: float) -> None:
        for sign in (-1, 1):
            canvas.paint(canvas.blob(x + sign * 30 * s, y + 24 * s, 22 * s, 4.5 * s, angle=0.25 * sign), 340)
        canvas.paint(canvas.blob(x, y + 48 * s, 4.5 * s, 22 * s), 360)
        canvas.paint(canvas.blob(x, y + 26 * s, 17 * s, 15 * s), 420)
        canvas.paint(canvas.blob(x, y, 25 * s, 20 * s), 460)
        canvas.paint(canvas.blob(x, y, 22.5 * s, 17.5 * s), 190, texture=35)
        canvas.paint(canvas.blob(x, y + 25 * s, 10 * s, 8.5 * s), 30)

    def _coronal(self, canvas: Canvas, height: float) -> None:
        s, (x0, y0) = self.size, self.shift
        self._wall(canvas, x0, y0 + 30, 150 * s, 250 * s, power=4)
        inside, enhanced = self.inside, 55 if self.contrast else 0
        lung_y = y0 - 182 * s
        for sign in (-1, 1):
            lung = canvas.blob(x0 + sign * 68 * s, lung_y, 52 * s, 66 * s)
            canvas.paint(lung & inside, -840, texture=25)
        liver = canvas.blob(
            x0 - 74 * s, y0 - 82 * s, (58 + 5 * height) * s, (66 + 6 * height) * s, angle=0.2, wobble=self.wobbles[0]
        )
        spleen = canvas.blob(x0 + 92 * s, y0 - 88 * s, 28 * s, 46 * s, angle=0.15)
        canvas.paint(liver & inside, 56 + enhanced, texture=4)
        canvas.paint(spleen & inside, 48 + 1.3 * enhanced, texture=4)
        self._bowel(canvas, x0, y0 + 105 * s, 100 * s, 50 * s, height)
        for sign in (-1, 1):
            slope = canvas.blob(x0 + sign * 40 * s, y0 + 55 * s, 17 * s, 95 * s, angle=sign * 0.22)
            canvas.paint(slope & inside, 56 + 0.2 * enhanced, texture=4)
            wing = canvas.blob(x0 + sign * 98 * s, y0 + 158 * s, 15 * s, 42 * s, angle=-sign * 0.55)
            canvas.paint(wing & inside, 330, texture=40)
        for k in range(-5, 6):
            level = y0 + 8 + k * 34 * s
            canvas.paint(canvas.blob(x0 + 2 * np.sin(k), level, 22 * s, 15 * s, power=4), 430)
            canvas.paint(canvas.blob(x0 + 2 * np.sin(k), level, 19.5 * s, 12.5 * s, power=4), 190, texture=35)
        for k in range(6):
            for sign in (-1, 1):
                rib = canvas.blob(
                    x0 + sign * (128 - 2 * k) * s, y0 - 170 * s + 36 * k * s, 5 * s, 9 * s, angle=sign * 0.5
                )
                canvas.paint(rib, 430)

    def _kidneys(self, canvas: Canvas, height: float) -> tuple[np.ndarray, np.ndarray]:
        lesion = np.zeros(canvas.hu.shape, dtype=bool)
        kidneys = np.zeros((2, *canvas.hu.shape), dtype=bool)
        s, (x0, y0) = self.size, self.shift
        for kidney, sign in enumerate((-1, 1)):
            scale = s * self.kidney_scale[kidney]
            if self.plane == AXIAL:
                shrink = 1 - 0.12 * abs(height)
                rx, ry = 27 * scale * shrink, 31 * scale * shrink
                x, y = x0 + sign * 74 * s, y0 + 34 * s + 0.4 * self.kidney_drop[kidney]
                angle = sign * (0.45 + self.kidney_tilt[kidney])
            else:
                rx, ry = (30 - 4 * abs(height)) * scale, (58 - 6 * abs(height)) * scale
                x, y = x0 + sign * 66 * s, y0 + self.kidney_drop[kidney] + (6 if sign < 0 else -2)
                angle = sign * (0.24 + self.kidney_tilt[kidney])
            kidneys[kidney] = self._kidney(canvas, x, y, rx, ry, angle, sign, self.wobbles[4 + kidney])
            if kidney == self.side and self.label != "Normal":
                lesion = self._lesion(canvas, x, y, rx, ry, angle, sign, height)
                kidneys[kidney] |= lesion
        return lesion, kidneys

    def _kidney(
        self, canvas: Canvas, x: float, y: float, rx: float, ry: float, angle: float, sign: int, wobble: Wobble
    ) -> np.ndarray:
        halo = canvas.blob(x, y, rx + 9, ry + 9, angle=angle) & self.inside
        canvas.paint(halo, -100, texture=6)
        outline = canvas.blob(x, y, rx, ry, angle=angle, wobble=wobble)
        canvas.paint(outline, 175 if self.contrast else 33, texture=5)
        if self.contrast:
            for k in range(7):  # pyramids of the medulla enhance later than the cortex
                turn = angle + k * 2 * np.pi / 7
                px, py = x + 0.62 * rx * np.cos(turn), y + 0.62 * ry * np.sin(turn)
                canvas.paint(canvas.blob(px, py, 0.2 * rx, 0.2 * rx), 118, texture=4)
        toward = -sign  # the hilum faces the spine
        sinus = canvas.blob(x + toward * 0.34 * rx, y - 0.05 * ry, 0.46 * rx, 0.5 * ry, angle=angle)
        canvas.paint(sinus, -60, texture=15)
        pelvis = canvas.blob(x + toward * 0.5 * rx, y, 0.3 * rx, 0.22 * ry, angle=angle)
        canvas.paint(pelvis, 12 if not self.contrast else 60)
        return outline & ~sinus

    def _lesion(
        self, canvas: Canvas, x: float, y: float, rx: float, ry: float, angle: float, sign: int, height: float
    ) -> np.ndarray:
        if self.label == "Stone":
            return self._stones(canvas, x - sign * 0.35 * rx, y, rx, ry, height)
        radius = self.lesion_radius * (1 - 0.35 * abs(height))  # a sphere is smaller away from its middle
        turn = self.lesion_angle
        local_x, local_y = 0.8 * rx * np.cos(turn), 0.8 * ry * np.sin(turn)
        cx = x + local_x * np.cos(angle) - local_y * np.sin(angle)
        cy = y + local_x * np.sin(angle) + local_y * np.cos(angle)
        mask = canvas.blob(cx, cy, radius, radius * 0.95, angle=turn, wobble=self.lesion_wobble)
        if self.label == "Cyst":
            canvas.paint(canvas.blob(cx, cy, radius + 1.2, radius * 0.95 + 1.2, angle=turn), 38)  # thin wall
            canvas.paint(mask, self.lesion_hu, texture=1.5)
        else:
            canvas.paint(mask, self.lesion_hu, texture=24 if self.contrast else 8)
            if self.necrosis:
                core = canvas.blob(cx, cy, 0.45 * radius, 0.38 * radius, angle=turn + 1, wobble=self.lesion_wobble)
                canvas.paint(core, 26, texture=8)
        return mask

    def _stones(self, canvas: Canvas, x: float, y: float, rx: float, ry: float, height: float) -> np.ndarray:
        lesion = np.zeros(canvas.hu.shape, dtype=bool)
        for number in range(self.n_stones):
            dx, dy = self.stone_spread[number]
            radius = self.lesion_radius * (1 - 0.3 * abs(height)) * (1.0 if number == 0 else 0.6)
            stone = canvas.blob(
                x + 0.3 * rx * dx, y + 0.42 * ry * dy, radius * 1.2, radius, angle=dx, wobble=self.wobbles[7]
            )
            canvas.paint(stone, self.lesion_hu)
            lesion |= stone
        return lesion
