"""A canvas for simulated CT slices: ellipses in Hounsfield units on a grid in millimetres."""

import numpy as np
from scipy.ndimage import gaussian_filter

SIZE_PX = 256
SPACING_MM = 1.5
Wobble = tuple[tuple[float, float], ...]  # (amplitude as a fraction of the radius, phase in radians) of each order


class Canvas:
    """A slice being drawn, `hu` (256, 256): coordinates in millimetres from the centre, x to the right, y down."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.span = (np.arange(SIZE_PX) - (SIZE_PX - 1) / 2) * SPACING_MM
        self.hu = np.full((SIZE_PX, SIZE_PX), -1000.0)
        self.rng = rng
        grain = gaussian_filter(rng.normal(size=self.hu.shape), 3, mode="wrap")
        self.grain = grain / grain.std()

    def _window(self, center: float, reach: float) -> slice:
        """The indices of the grid within `reach` millimetres of `center`."""
        low, high = np.searchsorted(self.span, (center - reach, center + reach))
        return slice(int(low), int(high))

    def blob(
        self, x: float, y: float, rx: float, ry: float, *, angle: float = 0.0, wobble: Wobble = (), power: float = 2.0
    ) -> np.ndarray:
        """The mask of an ellipse, (256, 256) bool.

        Args:
            x, y: centre, in mm.
            rx, ry: radii, in mm.
            angle: rotation in radians.
            wobble: deviation of the outline, see `draw_wobble`.
            power: above 2, the ellipse approaches a rectangle (a superellipse).
        """
        reach = 1.5 * max(rx, ry) + SPACING_MM
        across, down = self._window(x, reach), self._window(y, reach)
        dx, dy = np.meshgrid(self.span[across] - x, self.span[down] - y)
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / rx
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / ry
        radius = u * u + v * v if power == 2.0 else np.abs(u) ** power + np.abs(v) ** power
        limit: float | np.ndarray = 1.0
        if wobble:
            theta = np.arctan2(v, u)
            limit = 1 + sum(amount * np.cos(order * theta + phase) for order, (amount, phase) in enumerate(wobble, 2))
        mask = np.zeros(self.hu.shape, dtype=bool)
        mask[down, across] = radius < limit**power
        return mask

    def paint(self, mask: np.ndarray, hu: float, *, texture: float = 0.0) -> None:
        """Fill a mask with a value in HU, plus smooth noise with a standard deviation of `texture` HU."""
        self.hu[mask] = hu
        if texture:
            offset = self.rng.integers(SIZE_PX, size=2)
            self.hu[mask] += texture * np.roll(self.grain, offset, axis=(0, 1))[mask]


def draw_wobble(rng: np.random.Generator, amount: float, *, n: int = 4) -> Wobble:
    """Draw a random deviation of an outline from an ellipse for `Canvas.blob`, with `n` orders of falling amplitude."""
    return tuple((amount * rng.uniform(0.3, 1) / (k + 1), rng.uniform(0, 2 * np.pi)) for k in range(n))
