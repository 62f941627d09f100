"""Slice -> network input, and the augmentations of training. Every number a transform needs comes in."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from kidney_core.imaging.framing import FramedImage

# ImageNet statistics, Source: Krizhevsky et al. preprocessing as in torchvision's pretrained models.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
NO_AUGMENTATION, FLIP, STRONG, SCANNERS = "none", "flip", "strong", "scanners"
AUGMENTATIONS = (NO_AUGMENTATION, FLIP, STRONG, SCANNERS)
_N_FIRST, _N_OF_SCANNERS = 8, 7
N_RANDOM_NUMBERS = _N_FIRST + _N_OF_SCANNERS  # columns that `augment` reads
_BLUR_REACH = 3  # pixels


def input_of(framed: FramedImage) -> torch.Tensor:
    """What a network sees as it takes it: (1, 3, S, S) float32."""
    return to_input(torch.from_numpy(np.array(framed.square))[None])


def to_input(grey: torch.Tensor) -> torch.Tensor:
    """Normalise: (B, S, S), uint8 or float in 0..255 -> (B, 3, S, S) float32, ImageNet mean and deviation.

    Images of each kidney, (B, 2, S, S), give (B, 2, 3, S, S).
    """
    if grey.ndim == 4:
        return to_input(grey.flatten(0, 1)).unflatten(0, grey.shape[:2])
    images = grey.to(torch.float32).div(255).unsqueeze(1)
    mean = torch.tensor(MEAN, device=grey.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=grey.device).view(1, 3, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


class OtherNormalisation:
    """A hook before the first convolution of a network that learned with another mean and deviation than ImageNet's.

    Every image of this product is normalised by `to_input`; here it gets the values that the network knows.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.scale = [old / new for old, new in zip(STD, std, strict=True)]
        self.shift = [(old - new) / deviation for old, new, deviation in zip(MEAN, mean, std, strict=True)]

    def __call__(self, _module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        scale, shift = (inputs[0].new_tensor(values).view(1, 3, 1, 1) for values in (self.scale, self.shift))
        return (inputs[0] * scale + shift,)


def normalise_otherwise(model: torch.nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let a network see images normalised by its own mean and deviation of each channel, 3 values of 0..1 each."""
    if tuple(mean) == MEAN and tuple(std) == STD:
        return
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_pre_hook(OtherNormalisation(mean, std))


def random_numbers(n_images: int, *, seed: int, epoch: int) -> np.ndarray:
    """(n_images, 15) float32 in 0..1: row i serves image i, a function of (seed, epoch, image) alone."""
    first = np.random.default_rng([seed, epoch, 1]).random((n_images, _N_FIRST), dtype=np.float32)
    further = np.random.default_rng([seed, epoch, 4]).random((n_images, _N_OF_SCANNERS), dtype=np.float32)
    return np.concatenate([first, further], axis=1)


def augment(grey: torch.Tensor, numbers: torch.Tensor, kind: str) -> torch.Tensor:
    """Augment each image by its own row of numbers.

    Both images of a pair of kidneys, (B, 2, S, S), are augmented alike, and an all black one stays black.

    Args:
        grey: (B, S, S) uint8.
        numbers: (B, 15) uniform in 0..1.
        kind: "none"; "flip" (the paper: horizontal, half of the images); "strong" (flip, rotation to
            15 degrees, scale 0.85-1.2, shift to 8 %, gamma 0.7-1.4, contrast 0.8-1.25, noise to 3 %); "scanners" (the same, and
            the sharpness, contrast and grain of other scanners: see `_as_other_scanners`).

    Returns:
        (B, S, S) uint8 for "none" and "flip", float32 in 0..255 for "strong" and "scanners".
    """
    if kind == NO_AUGMENTATION:
        return grey
    if grey.ndim == 4:
        pairs = augment(grey.flatten(0, 1), numbers.repeat_interleave(2, dim=0), kind).unflatten(0, grey.shape[:2])
        return pairs * (grey.amax(dim=(2, 3), keepdim=True) > 0)
    flipped = torch.where((numbers[:, 0] < 0.5).view(-1, 1, 1), grey.flip(2), grey)
    if kind == FLIP:
        return flipped
    if kind not in (STRONG, SCANNERS):
        raise ValueError(f"augmentation must be one of {AUGMENTATIONS}, got {kind!r}")
    shaded = _shade(_move(flipped.to(torch.float32), numbers), numbers)
    return shaded if kind == STRONG else _as_other_scanners(shaded, numbers)


def _spread(number: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return low + number * (high - low)


def _move(grey: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Rotate, scale and shift: (B, S, S) float32 -> the same."""
    angle = _spread(numbers[:, 1], -15, 15) * (math.pi / 180)
    zoom = _spread(numbers[:, 2], 0.85, 1.2)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    shift_x, shift_y = (_spread(numbers[:, i], -0.16, 0.16) for i in (3, 4))  # the image is 2 units wide
    rows = [torch.stack([cosine, -sine, shift_x], 1), torch.stack([sine, cosine, shift_y], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(grey), 1, *grey.shape[1:]], align_corners=False)
    return F.grid_sample(grey.unsqueeze(1), grid, align_corners=False).squeeze(1)


def _shade(grey: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Gamma, contrast around mid-grey and noise: (B, S, S) float32 in 0..255 -> the same."""
    gamma = _spread(numbers[:, 5], math.log(0.7), math.log(1.4)).exp().view(-1, 1, 1)
    contrast = _spread(numbers[:, 6], 0.8, 1.25).view(-1, 1, 1)
    shaded = (grey / 255).clamp(0, 1) ** gamma
    shaded = (shaded - 0.5) * contrast + 0.5
    # One generator an image: its noise must not depend on its neighbours in the batch.
    noise = torch.stack([_noise(image, float(number)) for image, number in zip(grey, numbers[:, 7], strict=True)])
    amount = (numbers[:, 7] * 0.03).view(-1, 1, 1)
    return (shaded + noise * amount).clamp(0, 1) * 255


def _as_other_scanners(grey: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Sharper or softer, of more or less contrast, with noise of any grain, streaks included: (B, S, S) in 0..255 -> the same.

    Each happens to about two of three images. The seven numbers behind the first eight are: sharpness, width of its kernel in x and
    y, contrast, amount of noise, width of its grain in x and y.
    """
    sharpness, soft_x, soft_y, contrast, amount, grain_x, grain_y = numbers[:, _N_FIRST:].unbind(1)
    soft = _blur(grey, _spread(soft_x, 0.5, 1.3), _spread(soft_y, 0.5, 1.3))
    changed = grey + (soft - grey) * _sometimes(sharpness, -0.8, 1.0).view(-1, 1, 1)
    changed = 127.5 + (changed - 127.5) * _sometimes(contrast, -0.4, 0.4).exp().view(-1, 1, 1)
    # Seeds other than those of `_shade`, whose noise would be the same otherwise.
    noise = torch.stack([_noise(image, float(number)) for image, number in zip(grey, amount, strict=True)])
    noise = _blur(noise, _spread(grain_x, 0.3, 1.6), _spread(grain_y, 0.3, 1.2))
    noise = noise / noise.flatten(1).std(dim=1).view(-1, 1, 1)
    return (changed + noise * _sometimes(amount, 0.0, 24.0).view(-1, 1, 1)).clamp(0, 255)


def _sometimes(number: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """0 for a number below a third, else spread from low to high."""
    return torch.where(number < 1 / 3, 0.0, _spread((number - 1 / 3) * 1.5, low, high))


def _blur(images: torch.Tensor, sigma_x: torch.Tensor, sigma_y: torch.Tensor) -> torch.Tensor:
    """Blur each image by its own widths, in pixels: (B, S, S) -> (B, S, S)."""
    reach = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=images.device, dtype=images.dtype)

    def kernels(sigma: torch.Tensor) -> torch.Tensor:
        values = torch.exp(-(reach[None] ** 2) / (2 * sigma[:, None] ** 2))
        return values / values.sum(dim=1, keepdim=True)

    n, pad = len(images), _BLUR_REACH
    across = F.pad(images[None], (pad, pad, 0, 0), mode="replicate")
    across = F.conv2d(across, kernels(sigma_x).view(n, 1, 1, -1), groups=n)
    down = F.pad(across, (0, 0, pad, pad), mode="replicate")
    return F.conv2d(down, kernels(sigma_y).view(n, 1, -1, 1), groups=n)[0]


def _noise(image: torch.Tensor, number: float) -> torch.Tensor:
    generator = torch.Generator(image.device).manual_seed(int(number * 2**24))
    return torch.randn(image.shape, generator=generator, device=image.device)
