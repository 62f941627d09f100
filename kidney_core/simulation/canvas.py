"""A CT slice being drawn: soft ellipses in Hounsfield units over a grid in millimetres."""

import numpy as np
from scipy.ndimage import gaussian_filter

SIZE_PX = 256
SPACING_MM = 1.5


class Canvas:
    """A slice being drawn: Hounsfield values over a grid in millimetres, x to the right, y down."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.span = (np.arange(SIZE_PX) - (SIZE_PX - 1) / 2) * SPACING_MM
        self.hu = np.full((SIZE_PX, SIZE_PX), -1000.0)
        self.rng = rng
        grain = gaussian_filter(rng.normal(size=self.hu.shape), 3, mode="wrap")
        self.grain = grain / grain.std()

    def _window(self, center: float, reach: float) -> slice:
        """The indices within `reach` millimetres of `center`."""
        low, high = np.searchsorted(self.span, (center - reach, center + reach))
        return slice(int(low), int(high))

    def blob(
        self, x: float, y: float, rx: float, ry: float, *, angle: float = 0.0, wobble: tuple = (), power: float = 2.0
    ) -> np.ndarray:
        """Bool mask of an ellipse whose radius varies with the angle; `power` above 2 squares it."""
        reach = 1.5 * max(rx, ry) + SPACING_MM
        across, down = self._window(x, reach), self._window(y, reach)
        dx, dy = np.meshgrid(self.span[across] - x, self.span[down] - y)
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / rx
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) / ry
        radius = u * u + v * v if power == 2.0 else np.abs(u) ** power + np.abs(v) ** power
        limit = 1.0
        if wobble:
            theta = np.arctan2(v, u)
            limit = 1 + sum(amount * np.cos(order * theta + phase) for order, (amount, phase) in enumerate(wobble, 2))
        mask = np.zeros(self.hu.shape, dtype=bool)
        mask[down, across] = radius < limit**power
        return mask

    def paint(self, mask: np.ndarray, hu: float, *, texture: float = 0.0) -> None:
        """Fill a mask with a value, mottled by `texture` HU of standard deviation."""
        self.hu[mask] = hu
        if texture:
            offset = self.rng.integers(SIZE_PX, size=2)
            self.hu[mask] += texture * np.roll(self.grain, offset, axis=(0, 1))[mask]


def draw_wobble(rng: np.random.Generator, amount: float, n: int = 4) -> tuple:
    """An outline's deviation from an ellipse: `n` pairs (share of the radius, phase), for `Canvas.blob`."""
    return tuple((amount * rng.uniform(0.3, 1) / (k + 1), rng.uniform(0, 2 * np.pi)) for k in range(n))
