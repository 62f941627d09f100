"""Evidence from the predictions for images whose parts are hidden: many forward passes, no gradient.

Both are own code. pytorch-grad-cam has no occlusion. Its Score-CAM takes a forward pass for each of the 1,280 channels of
MobileNetV2: 34 s a map on one CPU core, against 1.4 s for the 64 strongest. On the same channels its maps differ by 0.4 %, since it
enlarges the masks in another way, and the quality of ours was measured for the shipped checkpoints (see `pointing`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kidney_core.networks import feature_maps

N_CHANNELS = 64  # Score-CAM takes one forward pass for each channel; the strongest ones carry the map
_PATCHES_PER_SIDE = 8  # an occluding patch is an eighth of the image wide, and moves by half of that
_BATCH = 8  # on a CPU the activations of few images stay in its cache
_UNCHANGED = 0.02  # in units of the normalised input: blurring such a patch of air changes nothing


@torch.no_grad()
def occlusion(model: nn.Module, image: Tensor, direction: Tensor) -> Tensor:
    """How much the score falls, on average, when patches over a place are blurred away.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2, with a blurred instead of a grey patch, since a flat
    patch in a body is itself an odd finding.

    Args:
        image: (1, 3, S, S) normalised.
        direction: (n_labels,) the explained score is `logits @ direction`.

    Returns: (S, S) in units of the score.
    """
    size = image.shape[-1]
    patch = max(2, size // _PATCHES_PER_SIDE)
    step = max(1, patch // 2)
    corners = [(top, left) for top in _starts(size, patch, step) for left in _starts(size, patch, step)]
    hidden = blur(image)
    change = (image - hidden).abs().amax(dim=(0, 1))  # (S, S)
    visible = [(t, left) for t, left in corners if change[t : t + patch, left : left + patch].max() > _UNCHANGED]
    base = model(image)[0] @ direction
    fall, covered = torch.zeros(size, size), torch.zeros(size, size)
    for top, left in corners:
        covered[top : top + patch, left : left + patch] += 1
    for start in range(0, len(visible), _BATCH):
        part = visible[start : start + _BATCH]
        batch = image.repeat(len(part), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        for row, (top, left) in zip(batch, part, strict=True):
            row[:, top : top + patch, left : left + patch] = hidden[0, :, top : top + patch, left : left + patch]
        scores = (model(batch) @ direction).cpu()
        for (top, left), score in zip(part, scores, strict=True):
            fall[top : top + patch, left : left + patch] += base.cpu() - score
    return fall / covered


@torch.no_grad()
def score_cam(model: nn.Module, image: Tensor, direction: Tensor, *, n_channels: int = N_CHANNELS) -> Tensor:
    """Each channel weighs by the score of the image seen through that channel alone.

    Source: Wang et al. 2020, arXiv:1910.01279, of the `n_channels` channels with the largest mean activation.

    Args:
        image, direction: as for `occlusion`.

    Returns: (h, w) of the last feature maps.
    """
    activations = feature_maps.last_maps(model, image)[0]  # (C, h, w)
    strongest = activations.mean(dim=(1, 2)).argsort(descending=True)[:n_channels]
    activations = activations[strongest]
    masks = F.interpolate(activations[:, None], size=image.shape[-2:], mode="bilinear", align_corners=False)
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    masks = (masks - low) / (high - low).clamp_min(1e-8)
    scores = torch.cat(
        [
            model((image * masks[start : start + _BATCH]).contiguous(memory_format=torch.channels_last)) @ direction
            for start in range(0, len(masks), _BATCH)
        ]
    )
    return (scores.softmax(dim=0).view(-1, 1, 1) * activations).sum(dim=0)


def blur(image: Tensor) -> Tensor:
    """An image without its details, (B, 3, S, S): each pixel is the mean of a square a quarter of the image wide."""
    reach = max(1, image.shape[-1] // 8)
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    return F.avg_pool2d(padded, 2 * reach + 1, stride=1)


def _starts(size: int, patch: int, step: int) -> list[int]:
    """Where patches begin so that they cover a side, the last one ending at its end."""
    return sorted({*range(0, size - patch + 1, step), size - patch})
