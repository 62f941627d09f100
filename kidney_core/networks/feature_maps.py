"""The feature maps of a network: the last ones before its head, those of every depth, and the layers as a chain."""

import torch
from torch import nn

from kidney_core.common.errors import ModelError
from kidney_core.networks import layer_groups
from kidney_core.networks.timm_network import as_timm


def last_maps(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The last feature maps before pooling, which Grad-CAM explains, (B, C, h, w) whatever the network's own order is.

    `layer4` of ResNet18, `bn2` (after `conv_head`) of MobileNetV2 and EfficientNet-B0.

    Raises: ModelError for networks without spatial feature maps there (vision transformers).
    """
    maps = as_timm(model).forward_features(images)
    _check_spatial(model, maps)
    return channels_first(model, maps)


def logits_of_last_maps(model: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """What the rest of the network makes of its `last_maps`: (B, n_labels) logits."""
    return as_timm(model).forward_head(maps.permute(0, 2, 3, 1) if _is_channels_last(model) else maps)


def has_maps_of_every_depth(model: nn.Module) -> bool:
    """Whether timm gives the feature maps of every depth of a network."""
    return hasattr(as_timm(model), "forward_intermediates")


def maps_of_every_depth(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What `forward_features` gives, and the feature maps of every depth, finest first, both in the network's own order.

    In that order each map lies on the way to the logits; `channels_first` brings it, or its gradient, to (B, C, h, w).

    Raises: ModelError for networks without spatial feature maps, or where timm does not give those of every depth.
    """
    if not has_maps_of_every_depth(model):
        raise no_maps_of_every_depth(model)
    own_order = "NHWC" if _is_channels_last(model) else "NCHW"
    last, maps = as_timm(model).forward_intermediates(images, output_fmt=own_order)
    _check_spatial(model, last)
    return last, maps


def no_maps_of_every_depth(model: nn.Module) -> ModelError:
    """The error of a network whose fine layers cannot be explained."""
    return ModelError(
        f"Only the last feature maps of {type(model).__name__} can be explained. Choose another method, such as Grad-CAM."
    )


def channels_first(model: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """Feature maps in the network's own order -> (B, C, h, w)."""
    return maps.permute(0, 3, 1, 2) if _is_channels_last(model) else maps


def _check_spatial(model: nn.Module, maps: torch.Tensor) -> None:
    if maps.ndim != 4:
        raise ModelError(
            f"{type(model).__name__} has no spatial feature map before its head, so no heatmap can be drawn of it. "
            "Choose a convolutional network for explanations."
        )


def _is_channels_last(model: nn.Module) -> bool:
    """Whether the network's feature maps are (B, h, w, C), as in Swin and its kin."""
    return str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")


def sequential_stages(model: nn.Module, probe: torch.Tensor) -> list[nn.Module] | None:
    """`forward_features` as a chain of modules, or None where the network is not such a chain.

    The chain is taken from the order of the modules and then checked on `probe`, (B, 3, S, S).
    """
    stages: list[nn.Module] = []
    head = layer_groups.head_prefixes(model)[0].split(".")[0]
    for name, child in model.named_children():
        if name in ("global_pool", head):
            break
        stages.extend(child if isinstance(child, nn.Sequential) and name in ("blocks", "stages") else [child])
    model.eval()
    with torch.inference_mode():
        try:
            chained = nn.Sequential(*stages)(probe)
            same = torch.equal(chained, as_timm(model).forward_features(probe))
        except (RuntimeError, TypeError, ValueError, NotImplementedError):  # the modules are no chain
            return None
    return stages if same else None
