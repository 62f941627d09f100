"""FullGrad and Ablation-CAM by pytorch-grad-cam, which hangs hooks on a network and exchanges its modules.

On a network that several threads share, that gave wrong maps without any error, and crashes. So the library gets a
private copy of the modules, which shares the weights, and one lock around it.
"""

import copy
import itertools
import threading
from types import SimpleNamespace
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from pytorch_grad_cam import AblationCAM, AblationLayer, FullGrad, ablation_cam
from torch import Tensor, nn

from kidney_core.common.errors import ModelError
from kidney_core.networks import feature_maps, layer_groups

_ABLATED_AT_ONCE = 64
# The library shows a progress bar on the console for every map, and has no switch for it.
ablation_cam.tqdm = SimpleNamespace(tqdm=iter)


class _PrivateCopy:
    """The modules of a network once more, with the very same weights, and the lock under which they are used."""

    def __init__(self, network: nn.Module) -> None:
        shared = {id(tensor): tensor for tensor in itertools.chain(network.parameters(), network.buffers())}
        self.network: nn.Module = copy.deepcopy(network, memo=shared)
        self.lock = threading.Lock()


_copies: WeakKeyDictionary[nn.Module, _PrivateCopy] = WeakKeyDictionary()
_copies_lock = threading.Lock()


def _private_copy(network: nn.Module) -> _PrivateCopy:
    with _copies_lock:
        if network not in _copies:
            _copies[network] = _PrivateCopy(network)
        return _copies[network]


class _Head(nn.Module):
    """The rest of a network after its last feature maps, which pass through a layer that can be exchanged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.network = network

    def forward(self, maps: Tensor) -> Tensor:
        return feature_maps.logits_of_last_maps(self.network, self.layer(maps))


class _ZeroedChannels(AblationLayer):
    """One channel of each image set to 0, as in the paper; the library's own layer puts -1e7 where a map has negatives."""

    def __call__(self, _maps: Tensor) -> Tensor:
        maps: Tensor = self.activations  # (B, C, h, w), the same B times
        maps[torch.arange(len(maps)), torch.from_numpy(self.indices[: len(maps)]).long()] = 0
        return maps


@torch.no_grad()
def ablation(network: nn.Module, image: Tensor, direction: Tensor) -> Tensor:
    """Each channel of the last feature maps weighs by how far the score falls without it: (h, w), signed.

    Source: Desai and Ramaswamy 2020, WACV, equation 3, without its division by the score, which turns the map of a label
    with a negative logit into its opposite. The library divides, so it gets a positive score, and its size is put back.

    Args:
        image: (1, 3, S, S) normalised.
        direction: (n_labels,) the explained score is `logits @ direction`.
    """
    private = _private_copy(network)
    with private.lock:
        head = _Head(private.network)
        maps = feature_maps.last_maps(private.network, image)
        unchanged = head(maps)[0] @ direction
        size = float(unchanged.abs()) or 1.0
        cam = AblationCAM(head, [], ablation_layer=_ZeroedChannels(), batch_size=_ABLATED_AT_ONCE)
        scores = [lambda logits: logits @ direction - unchanged + size]
        return size * torch.from_numpy(cam.get_cam_image(maps, head.layer, scores, maps.cpu().numpy(), None))[0]


class _FullGrad(FullGrad):
    """The library's recording of gradients and biases, without its scaling of every channel to 0..1."""

    def compute_cam_per_layer(self, image: Tensor, _targets: object, _eigen_smooth: bool) -> list[Tensor]:
        gradients = self.activations_and_grads.gradients
        if [len(bias) for bias in self.bias_data] != [gradient.shape[1] for gradient in gradients]:
            raise ModelError(f"FullGrad cannot follow {type(self.model).__name__}. Choose another method.")
        of_image = torch.zeros_like(image) if image.grad is None else image.grad * image
        self.contributions = [of_image.detach().cpu()] + [
            torch.from_numpy(bias)[None, :, None, None] * gradient
            for bias, gradient in zip(self.bias_data, gradients, strict=True)
        ]
        return [
            F.interpolate(part.abs().sum(dim=1, keepdim=True), image.shape[-2:], mode="bilinear", align_corners=False)
            for part in self.contributions
        ]

    def aggregate_multi_layers(self, maps: list[Tensor]) -> Tensor:
        return torch.cat(maps, dim=1).sum(dim=1)


def full_gradient(network: nn.Module, image: Tensor, direction: Tensor) -> Tensor:
    """What every place of the image and of every layer's bias adds to or takes from the score: (S, S), >= 0.

    Source: Srinivas and Fleuret 2019, arXiv:1905.00780, equation 8, without scaling each map. For networks whose biases
    all stand in convolutions and plain batch norms, as after `batch_norm.fold_batch_norms`.

    Args:
        image, direction: as for `ablation`.
    """
    _check_biases(network)
    private = _private_copy(network)
    with private.lock, torch.enable_grad():
        cam = _FullGrad(private.network, [])
        try:
            return cam.forward(image, [lambda logits: logits @ direction])[0]
        finally:
            cam.activations_and_grads.release()


def _check_biases(network: nn.Module) -> None:
    """The library reads biases of exactly these two kinds of layer, and would leave out all others in silence."""
    heads = layer_groups.head_prefixes(network)
    for name, module in network.named_modules():
        biased = getattr(module, "bias", None) is not None and not f"{name}.".startswith(heads)
        if biased and type(module) not in (nn.Conv2d, nn.BatchNorm2d):
            raise ModelError(
                f"FullGrad cannot read the biases of {type(module).__name__} layers, which {type(network).__name__} has. "
                "Choose another method."
            )
