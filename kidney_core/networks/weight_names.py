"""Weights of other programs under timm's names: wrappers around a network, torchvision's names, heads of any name.

torchvision's ResNets have timm's names. Its MobileNetV2 and EfficientNet-B0 are the same networks with other names; that the
answers are equal is tested. Sources: torchvision.models.mobilenetv2, torchvision.models.efficientnet; timm.models.efficientnet.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from kidney_core.common.errors import ModelError
from kidney_core.networks import layer_groups

# What programs put before the names of a network: parallel training, compiled networks, classes of one's own.
_WRAPPERS = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "base_model.",
    "encoder.",
    "feature_extractor.",
)
# The first parameters of the networks under timm's and torchvision's names.
_STARTS = ("conv1.weight", "conv_stem.weight", "features.0.0.weight")
_OF_TRAINING = ("criterion.", "loss_fn.")  # such as class weights, which are no part of the network
_MAX_HEAD_TENSORS = 4  # of a foreign head: two layers
_STAGES = {"mobilenetv2_100": (1, 2, 3, 4, 3, 3, 1)}  # blocks of each
_FIRST_CONV, _FIRST_NORM, _LAST_CONV, _LAST_NORM = "conv_stem", "bn1", "conv_head", "bn2"
_SEPARABLE = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_INVERTED = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}
_EXCITED_SEPARABLE = {
    **{"0.0": "conv_dw", "0.1": "bn1", "1.fc1": "se.conv_reduce", "1.fc2": "se.conv_expand"},
    **{"2.0": "conv_pw", "2.1": "bn2"},
}
_EXCITED_INVERTED = {
    **{"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2"},
    **{"2.fc1": "se.conv_reduce", "2.fc2": "se.conv_expand", "3.0": "conv_pwl", "3.1": "bn3"},
}


def body_weights(
    stored: Mapping[str, Tensor], model: nn.Module, architecture: str, *, source: str
) -> dict[str, Tensor]:
    """The weights of a network without its head by its own names, to start from.

    Args:
        source: the name of the file, for messages.

    Raises: ModelError naming the first parameter that does not fit.
    """
    original, head = _originals(stored, model, architecture), layer_groups.head_prefixes(model)
    own = {name: each for name, each in model.state_dict().items() if not name.startswith(head)}
    found = {name: stored[old] for name, old in original.items() if not name.startswith(head)}
    extra = _foreign_head(found, own)
    _require_fit({name: each for name, each in found.items() if name not in extra}, own, original, architecture, source)
    return {name: found[name] for name in own if name in found}


def all_weights(stored: Mapping[str, Tensor], model: nn.Module, architecture: str, *, source: str) -> dict[str, Tensor]:
    """The weights of a network with its head by its own names. Raises ModelError as `body_weights`."""
    original, own = _originals(stored, model, architecture), model.state_dict()
    named = {name: stored[old] for name, old in original.items()}
    head = [name for name in own if name.startswith(layer_groups.head_prefixes(model))]
    foreign = _foreign_head(named, own)
    if not set(head) & set(named) and len(foreign) == len(head):  # a head of one layer, whatever it is called
        for name in head:
            same = [other for other in foreign if other in named and named[other].shape == own[name].shape]
            if len(same) == 1:
                named[name], original[name] = named.pop(same[0]), original[same[0]]
    _require_fit(named, own, original, architecture, source)
    return {name: named[name] for name in own if name in named}


def _require_fit(
    found: Mapping[str, Tensor], own: Mapping[str, Tensor], original: Mapping[str, str], architecture: str, source: str
) -> None:
    """Raise ModelError for the first parameter, in the order of the network, that is missing or of another shape, or left over."""

    def refuse(name: str, reason: str) -> ModelError:
        return ModelError(
            f"The weights “{source}” are not those of {architecture}: parameter {original.get(name, name)} {reason}. Choose the file "
            "of the same architecture."
        )

    for name, tensor in own.items():
        if "num_batches" in name:
            continue
        if name not in found:
            raise refuse(name, "does not match, for it is missing")
        if found[name].shape != tensor.shape:
            raise refuse(
                name, f"does not match: it has the shape {_shape(found[name])}, and the network {_shape(tensor)}"
            )
    left_over = next((name for name in found if name not in own), None)
    if left_over:
        raise refuse(left_over, "does not match, for the network has none of that name")


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "of one number"


def _originals(stored: Mapping[str, Tensor], model: nn.Module, architecture: str) -> dict[str, str]:
    """timm's name of each tensor -> its name in the file."""
    own = set(model.state_dict())
    names = {
        name: name for name in stored if not name.endswith("num_batches_tracked") and not name.startswith(_OF_TRAINING)
    }
    for _ in range(len(_WRAPPERS)):
        for wrapper in _WRAPPERS:
            if any(name.startswith(wrapper) for name in own) or not any(name.startswith(wrapper) for name in names):
                continue
            without = {name.removeprefix(wrapper): old for name, old in names.items()}
            if len(without) == len(names):
                names = without
    names = _without_own_wrapper(names)
    if any(name.startswith("features.") for name in names) and not any(name.startswith("features.") for name in own):
        names = {_from_torchvision(name, architecture.split(".")[0]): old for name, old in names.items()}
    return names


def _without_own_wrapper(names: dict[str, str]) -> dict[str, str]:
    """The same without a prefix that a class of one's own gave the whole network, such as `resnet.`; a head may lie outside."""
    if any(start in names for start in _STARTS):
        return names
    found = sorted(
        {name.removesuffix(start) for name in names for start in _STARTS if name.endswith(f".{start}")}, key=len
    )
    if not found or not all(each.startswith(found[0]) for each in found):  # blocks have layers of the same name
        return names
    without = {name.removeprefix(found[0]): old for name, old in names.items()}
    return without if len(without) == len(names) else names


def _foreign_head(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """The names of a head that is called otherwise: few tensors, none of which is a convolution; empty where there is more."""
    extra = [name for name in found if name not in own]
    return extra if len(extra) <= _MAX_HEAD_TENSORS and all(found[name].ndim <= 2 for name in extra) else []


def _from_torchvision(name: str, architecture: str) -> str:
    """timm's name of a parameter of torchvision's network; the name itself where there is none."""
    if name.startswith("classifier.1."):
        return name.replace("classifier.1.", "classifier.", 1)
    if architecture == "mobilenetv2_100":
        return _from_mobilenet(name)
    return _from_efficientnet(name) if architecture == "efficientnet_b0" else name


def _end(layer: str, *, n_last: int) -> str:
    """timm's name of a layer before the blocks, or behind them at `features.n_last`; "" for any other."""
    return {
        "features.0.0": _FIRST_CONV,
        "features.0.1": _FIRST_NORM,
        f"features.{n_last}.0": _LAST_CONV,
        f"features.{n_last}.1": _LAST_NORM,
    }.get(layer, "")


def _from_mobilenet(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    if end := _end(layer, n_last=18):
        return f"{end}.{kind}"
    match = re.fullmatch(r"features\.(\d+)\.conv\.([\d.]+)", layer)
    if match is None:
        return name
    position = int(match[1]) - 1  # among the blocks of all stages
    for stage, n_blocks in enumerate(_STAGES["mobilenetv2_100"]):
        if position < n_blocks:
            layers = _SEPARABLE if stage == 0 else _INVERTED
            return f"blocks.{stage}.{position}.{layers[match[2]]}.{kind}" if match[2] in layers else name
        position -= n_blocks
    return name


def _from_efficientnet(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    if end := _end(layer, n_last=8):
        return f"{end}.{kind}"
    match = re.fullmatch(r"features\.([1-7])\.(\d+)\.block\.([\w.]+)", layer)
    if match is None:
        return name
    layers = _EXCITED_SEPARABLE if match[1] == "1" else _EXCITED_INVERTED
    return f"blocks.{int(match[1]) - 1}.{match[2]}.{layers[match[3]]}.{kind}" if match[3] in layers else name
