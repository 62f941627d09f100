"""Networks by timm name: build them, start them from weights, and freeze what does not learn."""

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from timm.models import PretrainedCfg
from torch import nn

from kidney_core.common.errors import ModelError
from kidney_core.common.paper import TIMM_NAMES
from kidney_core.networks import layer_groups, weight_files, weight_names

HEAD, LAST_BLOCK, ALL = "head", "last-block", "all"
TRAINABLE = (HEAD, LAST_BLOCK, ALL)
IMAGENET, SCRATCH = "imagenet", "scratch"
_ANSWER_TIMEOUT_S = 5.0
_OTHERWISE = "give a safetensors file or one of PyTorch (.pth) on this machine as init, or choose init “scratch” with trainable “all”."


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
    name = TIMM_NAMES.get(architecture, architecture)
    if not timm.is_model(name.split(".")[0]) or not _is_pretrained_tag(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f" Did you mean {', '.join(near)}?" if near else " See timm.list_models()."
        raise ModelError(f"timm has no architecture “{architecture}”.{hint}")
    return name


def _is_pretrained_tag(name: str) -> bool:
    """Whether what follows the first dot of a name, if anything does, is one of timm's sets of weights."""
    return "." not in name or name in timm.list_pretrained(name.split(".")[0] + ".*")


def require_start(architecture: str, init: str, image_size_px: int, *, trainable: str = ALL) -> nn.Module:
    """The network as a training starts with it, once it is sure that it can: built, with its weights, and fed one image.

    Weights that timm downloads are not fetched: it is checked that they are on this machine, or that they can be had.

    Raises: ModelError where it cannot be built or frozen so, or its initial weights are not there or do not fit.
    """
    if init != IMAGENET:
        model = build_model(architecture, 2, init=init, image_size_px=image_size_px)
    else:
        model = build_model(architecture, 2, image_size_px=image_size_px)
        _require_obtainable(_require_pretrained(timm_name(architecture), architecture), architecture)
    set_trainable(model, trainable)
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, image_size_px, image_size_px))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"{architecture} cannot see images of {image_size_px} px ({error}). Choose another image size."
        ) from error
    return model


def _require_obtainable(source: PretrainedCfg, architecture: str) -> None:
    """Raise ModelError where weights are neither in the cache of this machine nor answered for by Hugging Face."""
    if not source.hf_hub_id:
        return  # of another server, which timm asks when it downloads
    repository, _, revision = source.hf_hub_id.partition("@")
    names = (source.hf_hub_filename,) if source.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(repository, name, revision=revision or None), str) for name in names):
        return
    for name in names:
        try:
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision or None), timeout=_ANSWER_TIMEOUT_S)
        except EntryNotFoundError:
            continue
        except Exception as error:  # of the network or of Hugging Face's library, which has many
            raise _not_downloaded(source, architecture, error) from error
        return


def _not_downloaded(source: PretrainedCfg, architecture: str, error: Exception) -> ModelError:
    return ModelError(
        f"The ImageNet weights of {architecture} (“{source.hf_hub_id or source.url}”) are not in "
        f"“{constants.HF_HUB_CACHE}” and could not be downloaded ({type(error).__name__}). Check the internet access "
        f"and try again. Without it, {_OTHERWISE}"
    )


def build_model(
    architecture: str, n_labels: int, *, init: str = SCRATCH, image_size_px: int | None = None
) -> nn.Module:
    """A timm network with a new head for `n_labels` classes.

    Args:
        image_size_px: side of the square it will see, for networks that are built for one size (vision transformers).
        init: "imagenet" (timm downloads and caches its weights), "scratch" (random), or the path of
            a file of weights (safetensors or PyTorch, see `weight_files`) with timm's or torchvision's names, whose head is ignored.

    Raises:
        ModelError: an unknown architecture, weights that cannot be had, or that do not fit.
    """
    name = timm_name(architecture)
    options: dict[str, Any] = {"num_classes": n_labels}
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
        model = _pretrained(name, architecture, options)
        _start_head(model)
        return model
    if init != SCRATCH:
        _load_initial_weights(model, Path(init), architecture)
    return model


def _pretrained(name: str, architecture: str, options: dict[str, Any]) -> nn.Module:
    """A network with timm's weights, from Hugging Face's cache on this machine or downloaded into it."""
    source = _require_pretrained(name, architecture)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # of the network, the disk or Hugging Face's library, which has many
        raise _not_downloaded(source, architecture, error) from error


def _require_pretrained(name: str, architecture: str) -> PretrainedCfg:
    source = timm.get_pretrained_cfg(name)
    if source is None or not source.has_weights:
        raise ModelError(f"timm has no pretrained weights for {architecture}: {_OTHERWISE}")
    return source


def _start_head(model: nn.Module) -> None:
    """Let a new head begin undecided: near-zero weights, so that every class is about as probable.

    timm draws the head of MobileNet and EfficientNet for 1,000 classes; with 4 the same rule gives weights so large
    that the first loss is about 10 instead of log 4 and its gradients disturb what was pretrained.
    """
    heads = layer_groups.head_prefixes(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and f"{name}.".startswith(heads):
            nn.init.trunc_normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _load_initial_weights(model: nn.Module, path: Path, architecture: str) -> None:
    stored = weight_files.read_weights(path)
    body = weight_names.body_weights(stored, model, architecture, source=path.name)
    model.load_state_dict(body, strict=False)


def set_trainable(model: nn.Module, trainable: str) -> None:
    """Freeze every parameter outside `trainable`: "head", "last-block" (the paper) or "all".

    "last-block" is the head, the last block and what lies between them: see `layer_groups.last_block`.

    Raises: ModelError when "last-block" is asked of a network without blocks.
    """
    if trainable not in TRAINABLE:
        raise ValueError(f"trainable must be one of {TRAINABLE}, got {trainable!r}")
    names = None
    if trainable != ALL:
        names = layer_groups.head(model) if trainable == HEAD else layer_groups.last_block(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(names is None or name in names)


def train_mode(model: nn.Module) -> None:
    """Training mode for what is trained; frozen batch norms keep their stored statistics."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
