"""The images of a dataset, decoded on all cores, a few files at a time."""

from collections.abc import Callable

from kidney_core.common.errors import SliceError
from kidney_core.common.threads import thread_pool
from kidney_core.data.dataset import Dataset
from kidney_core.data.folder_layout import vanished_error
from kidney_core.imaging.slices import FILES_PER_BATCH, Slice, read_slices


def for_each_batch(
    dataset: Dataset,
    work: Callable[[int, list[Slice]], object],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Call `work` with the position of the first of some neighbouring slices and the slices, from several threads.

    Args:
        progress: called with (slices done, slices in total).

    Raises:
        SliceError: a file has become unreadable since the dataset was read.
        DatasetError: a file has been deleted since then.
    """
    paths = [dataset.root / path for path in dataset.table["path"]]

    def decode(start: int) -> int:
        batch = paths[start : start + FILES_PER_BATCH]
        images = []
        for path, result in zip(batch, read_slices(batch), strict=True):
            if isinstance(result, SliceError):
                if isinstance(result.__cause__, FileNotFoundError):
                    raise vanished_error(dataset.root, path) from result
                raise result
            images.append(result[0])
        work(start, images)
        return start + len(batch)

    with thread_pool() as pool:
        reported = 0
        for done in pool.map(decode, range(0, len(dataset), FILES_PER_BATCH)):
            if progress and (done - reported >= 100 or done == len(dataset)):
                progress(done, len(dataset))
                reported = done
