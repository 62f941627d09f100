"""The network of the kidney finder: a MobileNetV2 encoder and a light feature pyramid as decoder.

Source: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", with depthwise separable convolutions as in Howard et
al. 2017, "MobileNets".
"""

from collections.abc import Sequence

import timm
import torch
import torch.nn.functional as F
from torch import nn

KIDNEY, SIDE = 0, 1  # channels of the output
_WIDTH = 48  # channels of the decoder


class FinderNetwork(nn.Module):
    """(B, 3, S, S) normalised images -> (B, 2, S, S) logits: of a kidney, and of its being the one on the left of the picture.

    The side is the side in the picture, so that a mirrored picture has mirrored answers; what it means for the patient is
    known from the letters of the slice.
    """

    def __init__(self, encoder: str = "mobilenetv2_100") -> None:
        super().__init__()
        self.encoder = timm.create_model(encoder, features_only=True)
        # A timm attribute.
        self.channels: list[int] = self.encoder.feature_info.channels()  # type: ignore[operator, union-attr]
        self.lateral = nn.ModuleList(nn.Conv2d(n, _WIDTH, 1) for n in self.channels)
        self.smooth = nn.ModuleList(_separable(_WIDTH) for _ in self.channels)
        self.head = nn.Conv2d(_WIDTH, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.decode(self.encoder(images), images.shape[-2:])

    def decode(self, maps: Sequence[torch.Tensor], size: torch.Size) -> torch.Tensor:
        """The logits from the encoder's maps, (B, C, h, w) each, fine before coarse: (B, 2, *size)."""
        decoded = None
        for features, lateral, smooth in zip(
            reversed(maps), reversed(self.lateral), reversed(self.smooth), strict=True
        ):
            level = lateral(features)
            decoded = smooth(level if decoded is None else level + _resize(decoded, level.shape[-2:]))
        return _resize(self.head(decoded), size)


def _separable(n_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_channels, n_channels, 3, padding=1, groups=n_channels, bias=False),
        nn.Conv2d(n_channels, n_channels, 1, bias=False),
        nn.BatchNorm2d(n_channels),
        nn.ReLU(inplace=True),
    )


def _resize(maps: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
