"""What every network of timm has and `nn.Module` does not declare, for the type checker."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, cast, overload

from torch import Tensor, nn

from kidney_core.networks.strongest_kidney import of_one_image


class TimmNetwork(Protocol):
    """The methods of timm's networks that this product calls."""

    pretrained_cfg: Mapping[str, Any]

    def group_matcher(self, *, coarse: bool) -> Any: ...

    def forward_features(self, images: Tensor) -> Tensor: ...

    def forward_head(self, maps: Tensor, *, pre_logits: bool = False) -> Tensor: ...

    def get_classifier(self) -> nn.Module: ...

    @overload
    def forward_intermediates(self, images: Tensor, *, output_fmt: str = "NCHW") -> tuple[Tensor, list[Tensor]]: ...

    @overload
    def forward_intermediates(self, images: Tensor, *, intermediates_only: Literal[True]) -> list[Tensor]: ...


def as_timm(model: nn.Module) -> TimmNetwork:
    """The same network; a type checker knows its methods. Of one that reads each kidney, the network for one kidney."""
    return cast(TimmNetwork, of_one_image(model))
