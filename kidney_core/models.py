"""Networks by timm name: build, start from weights, freeze, and find what Grad-CAM explains."""

import copy
import difflib
import re
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from kidney_core.errors import ModelError

# The names the paper and the pages use for the three architectures.
ALIASES = {"ResNet18": "resnet18", "MobileNetV2": "mobilenetv2_100", "EfficientNet-B0": "efficientnet_b0"}
HEAD, LAST_BLOCK, ALL = "head", "last-block", "all"
TRAINABLE = (HEAD, LAST_BLOCK, ALL)
IMAGENET, SCRATCH = "imagenet", "scratch"
# blocks.6.…, layer4.…, stages.3.…, features.denseblock4.…: how timm numbers the stages of a network
_BLOCK = re.compile(r"^(.*?(?:blocks|layers|layer|stages|denseblock|block)\.?\d+)\.")


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" prefers CUDA, then Apple's MPS, then the CPU.

    Raises: ModelError when the named device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name.split(":")[0], False):
        raise ModelError(f"The device “{name}” is not available on this machine. Use “auto” or “cpu”.")
    return torch.device(name)


def timm_name(architecture: str) -> str:
    """The timm name of an architecture given by its name in the paper or in timm.

    Raises: ModelError for a name timm does not know, with the nearest ones.
    """
    name = ALIASES.get(architecture, architecture)
    if not timm.is_model(name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f" Did you mean {', '.join(near)}?" if near else " See timm.list_models()."
        raise ModelError(f"timm has no architecture “{architecture}”.{hint}")
    return name


def build_model(
    architecture: str, n_labels: int, *, init: str = SCRATCH, image_size_px: int | None = None
) -> nn.Module:
    """A timm network with a new head for `n_labels` classes.

    Args:
        image_size_px: side of the square it will see, for networks that are built for one size (vision transformers).
        init: "imagenet" (timm downloads and caches its weights), "scratch" (random), or the path of
            a safetensors file of timm's parameter names, whose head is ignored when its size differs.

    Raises:
        ModelError: an unknown architecture, weights that cannot be had, or that do not fit.
    """
    name = timm_name(architecture)
    options = {"num_classes": n_labels}
    pretrained = timm.get_pretrained_cfg(name)
    if image_size_px and pretrained is not None and pretrained.fixed_input_size:
        options["img_size"] = image_size_px
    try:
        model = timm.create_model(name, pretrained=False, **options)
        _start_head(model)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"timm cannot build {architecture} for {image_size_px} px images ({error}). Choose another image size."
        ) from error
    if init == IMAGENET:
        try:
            model = timm.create_model(name, pretrained=True, **options)
            _start_head(model)
            return model
        except Exception as error:
            raise ModelError(
                f"The ImageNet weights of {architecture} could not be downloaded ({type(error).__name__}). Without "
                "internet access, give a safetensors file of timm's weights as init, or choose init “scratch” "
                "with trainable “all”."
            ) from error
    if init != SCRATCH:
        _load_initial_weights(model, Path(init), architecture)
    return model


def classifier_prefix(model: nn.Module) -> str:
    """The parameter-name prefix of the head: "fc." or "classifier."."""
    names = model.pretrained_cfg["classifier"]
    return (names if isinstance(names, str) else names[0]) + "."


def _start_head(model: nn.Module) -> None:
    """Let a new head begin undecided: near-zero weights, so that every class is about as probable.

    timm draws the head of MobileNet and EfficientNet for 1,000 classes; with 4 the same rule gives weights so large
    that the first loss is about 10 instead of log 4 and its gradients disturb what was pretrained.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and f"{name}.".startswith(classifier_prefix(model)):
            nn.init.trunc_normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _load_initial_weights(model: nn.Module, path: Path, architecture: str) -> None:
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"The starting weights “{path}” cannot be read as safetensors ({error}). Check the path."
        ) from error
    head = classifier_prefix(model)
    own = model.state_dict()
    body = {name: tensor for name, tensor in stored.items() if not name.startswith(head)}
    misfit = [name for name, tensor in body.items() if name not in own or own[name].shape != tensor.shape]
    missing = [name for name in own if name not in body and not name.startswith(head) and "num_batches" not in name]
    if misfit or missing:
        raise ModelError(
            f"The starting weights “{path.name}” are not those of {architecture}: "
            f"parameter {(misfit or missing)[0]} does not match. Choose the file of the same architecture."
        )
    model.load_state_dict(body, strict=False)


def set_trainable(model: nn.Module, trainable: str) -> None:
    """Freeze every parameter outside `trainable`: "head", "last-block" (the paper) or "all".

    "last-block" is the head, the last numbered stage and whatever follows it.

    Raises: ModelError when the architecture numbers no blocks.
    """
    if trainable not in TRAINABLE:
        raise ValueError(f"trainable must be one of {TRAINABLE}, got {trainable!r}")
    head = classifier_prefix(model)
    names = [name for name, _ in model.named_parameters()]
    first = 0
    if trainable == HEAD:
        first = len(names)
    elif trainable == LAST_BLOCK:
        blocks = [match[1] for name in names if (match := _BLOCK.match(name)) and not name.startswith(head)]
        if not blocks:
            raise ModelError("This architecture has no numbered blocks. Choose trainable “head” or “all”.")
        first = next(i for i, name in enumerate(names) if name.startswith(blocks[-1] + "."))
    for position, (name, parameter) in enumerate(model.named_parameters()):
        parameter.requires_grad_(position >= first or name.startswith(head))


def train_mode(model: nn.Module) -> None:
    """Training mode for what is trained; frozen batch norms keep their stored statistics."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def has_folded_batch_norm(model: nn.Module) -> bool:
    """True when every batch norm holds mean 0 and variance 1: its statistics were folded into the weights."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return bool(norms) and all(
        bool((norm.running_mean == 0).all()) and bool(((norm.running_var - 1).abs() < 1e-3).all()) for norm in norms
    )


@torch.no_grad()
def recalibrate_batch_norm(model: nn.Module, images: torch.Tensor) -> None:
    """Give folded batch norms the statistics of `images`, leaving what the network computes unchanged.

    With mean 0 and variance 1 stored, training mode would at once replace the function of every layer.
    Writing the measured mean m and variance v into the norm and scaling its weight and bias to match,
    w' = w * sqrt((v + eps) / (v0 + eps)) and b' = b + w * (m - m0) / sqrt(v0 + eps), keeps it.

    Args:
        images: (B, 3, S, S) normalised inputs, a few dozen.
    """
    seen: dict[nn.Module, torch.Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(lambda norm, inputs: seen.__setitem__(norm, inputs[0].detach()))
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    model.eval()
    model(images)
    for hook in hooks:
        hook.remove()
    for norm, activations in seen.items():
        variance, mean = torch.var_mean(activations, dim=(0, 2, 3), correction=0)
        old_scale = (norm.running_var + norm.eps).sqrt()
        norm.bias += norm.weight * (mean - norm.running_mean) / old_scale
        norm.weight *= (variance + norm.eps).sqrt() / old_scale
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


@torch.inference_mode()
def _computes_the_same(one: nn.Module, other: nn.Module, images: torch.Tensor) -> bool:
    expected = one(images)
    return torch.allclose(other(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def fold_batch_norms(model: nn.Module, image_size_px: int) -> nn.Module:
    """The same network for inference, each batch norm folded into the convolution before it.

    w' = w * g / sqrt(v + eps) and b' = (b - m) * g / sqrt(v + eps) + beta: the same function up to rounding. On 2 CPU
    cores MobileNetV2 gives about twice as many answers a second. Which norm follows which convolution is seen in a
    forward pass; where the folded network answers otherwise (a convolution whose output goes elsewhere too), the
    network comes back as it was.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return model
    images = torch.rand((2, 3, image_size_px, image_size_px), generator=torch.Generator().manual_seed(0))
    images = images.to(next(model.parameters()).device)
    model.eval()
    folded = copy.deepcopy(model)
    made: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # the output is held, so that its id stays its own
    follows: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def after_convolution(convolution: nn.Conv2d, _inputs: tuple, output: torch.Tensor) -> None:
        made[id(output)] = (convolution, output)

    def before_norm(norm: nn.BatchNorm2d, inputs: tuple) -> None:
        if id(inputs[0]) in made and norm.affine and norm.track_running_stats:
            follows[norm] = made[id(inputs[0])][0]

    hooks = [
        module.register_forward_hook(after_convolution)
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(before_norm)
        for module in folded.modules()
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))
    ]
    with torch.no_grad():
        folded(images)
        for hook in hooks:
            hook.remove()
        for norm, convolution in follows.items():
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            bias = 0 if convolution.bias is None else convolution.bias
            convolution.weight.mul_(scale[:, None, None, None])
            convolution.bias = nn.Parameter(norm.bias + (bias - norm.running_mean) * scale, requires_grad=False)
    if not follows:
        return model
    # timm's norms carry the activation that follows them.
    rest = {
        norm: nn.Sequential(*(getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)))
        for norm in follows
    }
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if child in rest:
                setattr(parent, name, rest[child])
    return folded if _computes_the_same(model, folded, images) else model


def feature_maps(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The layer that Grad-CAM explains: the last feature maps before pooling.

    `layer4` of ResNet18, `bn2` (after `conv_head`) of MobileNetV2 and EfficientNet-B0.

    Returns: what `forward_features` gives, (B, C, h, w) or (B, h, w, C).

    Raises: ModelError for networks without a spatial map there (vision transformers).
    """
    features = model.forward_features(images)
    if features.ndim != 4:
        raise _no_map(model)
    return features


def _no_map(model: nn.Module) -> ModelError:
    return ModelError(
        f"{type(model).__name__} has no spatial feature map before its head, so no heat map can be drawn of it. "
        "Choose a convolutional network for explanations."
    )


def feature_maps_nchw(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """`feature_maps` with the channels first, whatever the network's own order is: (B, C, h, w)."""
    features = feature_maps(model, images)
    return features.permute(0, 3, 1, 2) if _channels_last(model) else features


def intermediate_maps(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What `forward_features` gives, and the feature maps of every depth, (B, C, h, w), finest first.

    Raises: ModelError for networks without spatial feature maps, or where timm does not know their depths.
    """
    if not hasattr(model, "forward_intermediates"):
        raise ModelError(
            f"timm gives no feature maps of {type(model).__name__} but the last ones. Choose another method, such as Grad-CAM."
        )
    last, maps = model.forward_intermediates(images)
    if last.ndim != 4:
        raise _no_map(model)
    return last, maps


def head_nchw(model: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """What the rest of the network makes of its `feature_maps_nchw`: (B, n_labels) logits."""
    return model.forward_head(features.permute(0, 2, 3, 1) if _channels_last(model) else features)


def _channels_last(model: nn.Module) -> bool:
    """Whether the network's feature maps are (B, h, w, C), as in Swin and its kin."""
    return str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")


def sequential_stages(model: nn.Module, probe: torch.Tensor) -> list[nn.Module] | None:
    """`forward_features` as a chain of modules, or None where the network is not such a chain.

    The chain is taken from the order of the modules and then checked on `probe`, (B, 3, S, S).
    """
    stages: list[nn.Module] = []
    head = classifier_prefix(model).split(".")[0]
    for name, child in model.named_children():
        if name in ("global_pool", head):
            break
        stages.extend(child if isinstance(child, nn.Sequential) and name in ("blocks", "stages") else [child])
    model.eval()
    with torch.inference_mode():
        try:
            chained = nn.Sequential(*stages)(probe)
            same = torch.equal(chained, model.forward_features(probe))
        except (
            RuntimeError,
            TypeError,
            ValueError,
            NotImplementedError,
        ):  # the chain of modules is not the forward pass
            return None
    return stages if same else None
