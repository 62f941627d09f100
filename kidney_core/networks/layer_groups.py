"""The parameters of a network from its stem to its head: which ones are its head, and which its last block."""

import re

from timm.models import group_parameters
from torch import nn

from kidney_core.common.errors import ModelError
from kidney_core.networks.timm_network import as_timm

# For networks that timm does not group. blocks.6.…, layer4.…, stages.3.…: how timm numbers the stages of a network.
_NUMBERED = re.compile(r"^(.*?(?:blocks|layers|layer|stages|denseblock|block)\.?\d+)\.")


def head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """How the names of the head's parameters begin: ("fc.",), or several for a network with several heads."""
    names = as_timm(model).pretrained_cfg["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def head(model: nn.Module) -> frozenset[str]:
    """The names of the head's parameters: the layers that timm replaces for another number of labels."""
    return frozenset(name for name, _ in model.named_parameters() if name.startswith(head_prefixes(model)))


def last_block(model: nn.Module) -> frozenset[str]:
    """The names of the parameters of the last block and of all that follows it, the head included.

    timm divides each architecture into a stem, blocks and a rest; the rest holds the head, and sometimes a norm or
    further layers before it. The last block is the group before that rest.

    Raises: ModelError when the network has no blocks.
    """
    grouped = _grouped_by_timm(model)
    names = _from_last_number(model) if grouped is None else grouped
    if not names or len(names) == len(list(model.named_parameters())):
        raise ModelError(
            f"{type(model).__name__} is not divided into blocks, so its last block cannot be trained alone. "
            "Choose trainable “head” or “all”."
        )
    return names


def _grouped_by_timm(model: nn.Module) -> frozenset[str] | None:
    """The last group before the head's, and the head's; None where timm does not group the network coarsely."""
    try:
        matcher = as_timm(model).group_matcher(coarse=True)
    except (AttributeError, AssertionError, NotImplementedError):  # MetaFormer has none, RDNet refuses coarse groups
        return None
    groups = group_parameters(model, matcher)  # 0, the stem, to the last one -> parameter names
    heads = head(model)
    first_of_head = min(position for position, names in groups.items() if heads & set(names))
    names = [name for position, group in groups.items() if position >= first_of_head - 1 for name in group]
    return frozenset(names) | heads


def _from_last_number(model: nn.Module) -> frozenset[str]:
    """The last numbered stage and whatever follows it in the order of the parameters; empty without one."""
    heads, names = head(model), [name for name, _ in model.named_parameters()]
    stages = [match[1] for name in names if (match := _NUMBERED.match(name)) and name not in heads]
    if not stages:
        return frozenset()
    first = next(i for i, name in enumerate(names) if name.startswith(stages[-1] + "."))
    return frozenset(names[first:]) | heads
