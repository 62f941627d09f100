"""A map of slices by what a network sees in them: near each other where its features are alike."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kidney_core.checkpoints import ood
from kidney_core.common import allowed_paths
from kidney_core.diagnosis.inference import Predictor
from kidney_core.imaging import slices, stack
from kidney_core.kidneys.kidney_view import frame_slices

MOST_SLICES = 1500  # on a map; more take minutes and hide each other
LEAST_SLICES = 5
_BATCH = 8
_N_COMPONENTS = 50
_PERPLEXITY = 30.0


def chosen_rows(n: int, *, most: int = MOST_SLICES) -> np.ndarray:
    """At most `most` of n rows, evenly spaced: (K,) positions."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def features_of(
    predictor: Predictor, folder: Path, paths: Sequence[str], *, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """The mean of each feature map of every depth but the first: (N, F) float64.

    Args:
        paths: of slices below `folder`, as `stack.StackItem.name` calls them.
        progress: called with (slices read, slices in all).

    Raises: PathError, SliceError.
    """
    batches = []
    for start in range(0, len(paths), _BATCH):
        greys = []
        for path in paths[start : start + _BATCH]:
            file, frame = stack.file_and_frame(path)
            greys.append(slices.read_slice(allowed_paths.file_below(folder, file), frame=frame).network_grey8())
        view = predictor.checkpoint.view
        squares = np.stack([view.as_array(frames) for frames in frame_slices(view, greys, predictor.finder)])
        batches.append(ood.slice_features(predictor.model, squares)[:, ood.THUMBNAIL_PX**2 :])
        if progress:
            progress(min(start + _BATCH, len(paths)), len(paths))
    return np.concatenate(batches)


def map_of(features: np.ndarray) -> np.ndarray:
    """t-SNE of standardised features: (N, F) -> (N, 2), the same for the same features; N at least 5.

    Source: van der Maaten & Hinton 2008, JMLR 9:2579; started from principal components, Kobak & Berens 2019, Nat Commun 10:5416.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < LEAST_SLICES:
        raise ValueError(f"a map needs {LEAST_SLICES} slices, got {len(features)}")
    spread = features.std(axis=0)
    standardised = (features - features.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    n_components = min(_N_COMPONENTS, *standardised.shape)
    reduced = PCA(n_components, svd_solver="full").fit_transform(standardised)
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(2, init="pca", perplexity=perplexity, random_state=0).fit_transform(reduced)
