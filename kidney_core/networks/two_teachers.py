"""A network that learns from two teachers at once: the labels of whole slices, and lesions that were drawn into healthy kidneys.

A slice has the label of its scan, also where it shows no lesion; a drawn lesion is where its label says. What the same kidney should
be called differs between the two, so each teacher has an offset of its own: slices learn the network's logits plus it, drawn lesions
the logits minus it. The logits themselves are the mean of both, and all that is kept.
"""

import torch
from torch import Tensor, nn

from kidney_core.common.errors import ModelError
from kidney_core.networks.strongest_kidney import StrongestKidney, is_shown, spread_out
from kidney_core.networks.timm_network import as_timm


class TwoTeachers(nn.Module):
    """Slices as `StrongestKidney`, and single kidneys beside them.

    Args:
        network: a timm network for images of one kidney.
        offset: as `offset_for`.
        labels: whose order the logits have.
    """

    def __init__(self, network: nn.Module, offset: nn.Linear, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.slices, self.offset = StrongestKidney(network, labels), offset

    def forward(self, images: Tensor, kidneys: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """(B, 2, 3, S, S) slices -> (B, n_labels) logits.

        With drawn kidneys, (D, 3, S, S): the logits that slices learn, and the (D, n_labels) that drawn kidneys learn.
        """
        if kidneys is None:
            logits: Tensor = self.slices(images)
            return logits
        network, shown = as_timm(self.slices.network), is_shown(images)
        of_slices = images[shown]
        # Together, so that batch norms see one batch.
        features = network.forward_head(network.forward_features(torch.cat([of_slices, kidneys])), pre_logits=True)
        logits, offset = network.get_classifier()(features), self.offset(features)
        n = len(of_slices)
        both = spread_out(logits[:n] + offset[:n], shown)
        return self.slices.of_strongest(both, images), logits[n:] - offset[n:]


def offset_for(network: nn.Module, n_labels: int) -> nn.Linear:
    """The offset of a network's teachers, which starts as almost nothing.

    Raises: ModelError for a network that does not end in a linear layer.
    """
    classifier = as_timm(network).get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise ModelError(
            "Drawn lesions need a network that ends in a linear layer. Choose another architecture, or set drawn_lesions to 0."
        )
    offset = nn.Linear(classifier.in_features, n_labels)
    nn.init.normal_(offset.weight, std=0.01)
    nn.init.zeros_(offset.bias)
    return offset
