"""A folder with one folder per class -> a table of its readable slices, and a list of unreadable files."""

import hashlib
import itertools
import json
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kidney_core.common.cache import cache_folder, make_room, mark_used
from kidney_core.common.errors import DatasetError, SliceError
from kidney_core.common.files import natural_key, remove_leftovers, write_atomically
from kidney_core.common.labelling import NOT_STATED, Labelling
from kidney_core.common.labels import order_labels
from kidney_core.common.threads import thread_pool
from kidney_core.data import folder_layout
from kidney_core.data.folder_layout import LAYOUT_HELP, ListedFile, vanished_error
from kidney_core.data.thumbnails import thumbnail
from kidney_core.imaging.planes import plane_of
from kidney_core.imaging.slices import FILES_PER_BATCH, Slice, read_slices

DECODING_VERSION = 7  # raised when a file decodes to other pixels or another error, so that older caches are not used
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Dataset:
    """The slices of a folder, as it was when it was read.

    Attributes:
        root: the folder that holds the class folders, or the parts of a split.
        labels: its classes, the four standard ones first.
        table: one row per readable slice, in file order within each class, with the columns `path` (relative to root,
            with /), `label`, `sha256` (of the file), `plane` and, where the folder has a split of its own, `folder_part`
            ("train", "validation" or "test").
        thumbnails: (N, 32, 32) uint8, in the order of `table`.
        unreadable: (path, reason) of each file that is not a usable image, and of folders that belong to no class.
        fingerprint: SHA-256 of all paths, labels and contents; equal for equal data in different places.
        class_names: name of each class in the folder -> (its label, "" where it is left out, and the number of its files).
        part_of: the dataset that these slices were chosen from, and their rows there; None for all slices of a folder.
    """

    root: Path
    labels: tuple[str, ...]
    table: pd.DataFrame = field(repr=False)
    thumbnails: np.ndarray = field(repr=False)
    unreadable: tuple[tuple[str, str], ...]
    fingerprint: str
    class_names: dict[str, tuple[str, int]] = field(default_factory=dict, repr=False)
    part_of: "tuple[Dataset, np.ndarray] | None" = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    def only(self, rows: np.ndarray, *, why: str) -> "Dataset":
        """The slices of some rows, (N,) bool; `why` names the choice, so that the fingerprint tells it from others."""
        digest = hashlib.sha256(f"{self.fingerprint}:{why}".encode()).hexdigest()
        kept = self.table[rows].reset_index(drop=True)
        return replace(
            self, table=kept, thumbnails=self.thumbnails[rows], fingerprint=digest, part_of=(self, np.flatnonzero(rows))
        )

    def counts(self) -> dict[str, int]:
        """The number of slices per label, in the order of `labels`."""
        counts = self.table["label"].value_counts()
        return {label: int(counts.get(label, 0)) for label in self.labels}


def read_dataset(
    root: Path | str,
    *,
    label: str | None = None,
    labelling: Labelling = NOT_STATED,
    progress: Progress | None = None,
    use_cache: bool = True,
) -> Dataset:
    """Read every image below the class folders of `root`, or that its table of labels names, see `folder_layout`.

    The result is cached by the sizes and modification times of the files, so that reading an unchanged folder again
    takes a fraction of a second.

    Args:
        label: the class of every image below `root`, whatever its folders are called; None for one folder per class.
        labelling: what the user said about its classes.
        progress: called with (files read, files in total).

    Raises:
        DatasetError: no such folder, no class folders, no readable image in it, or no cache folder.
        UnclearTable: a table of labels could be read in several ways.
    """
    try:
        root = Path(root).expanduser()
        layout = folder_layout.list_files(root, label=label, labelling=labelling)
        root, files, left_out = layout.root, _in_file_order(layout.files), layout.left_out
        files, key = _listing_key(root, files, left_out)
        cached = cache_folder() / f"index-{key}.npz"
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a name too long, a NUL, no permission
        raise DatasetError(f"The folder “{root}” cannot be read ({error}). {LAYOUT_HELP}") from error
    dataset = _load_index(root, cached) if use_cache else None
    if dataset is not None:
        mark_used(cached)
    else:
        dataset, is_reproducible = _read_files(root, files, progress)
        if is_reproducible:
            _save_index(dataset, cached)
    parts = folder_layout.parts_of(dataset.table["path"].tolist(), layout.parts)
    table = dataset.table if parts is None or label else dataset.table.assign(folder_part=parts)
    unreadable = (*left_out, *dataset.unreadable)
    return replace(dataset, table=table, unreadable=unreadable, class_names=layout.class_names)


def require_classes(dataset: Dataset) -> None:
    """Raise DatasetError for a dataset with one class only, which cannot train a classifier."""
    if len(dataset.labels) < 2:
        raise DatasetError(
            f"“{dataset.root}” has readable images of one class only ({dataset.labels[0]}). {LAYOUT_HELP}"
        )


def short_hash(sha256: str) -> str:
    """The first 12 hexadecimal digits of a digest: enough to identify one of a million files."""
    return sha256[:12]


def _in_file_order(files: list[ListedFile]) -> list[ListedFile]:
    labels = order_labels({file.label for file in files})
    return sorted(files, key=lambda file: (labels.index(file.label), natural_key(file.path)))


def _listing_key(root: Path, files: list[ListedFile], left_out: list[tuple[str, str]]) -> tuple[list[ListedFile], str]:
    """The files that are there, and a digest of their names, sizes and times; what is no file goes to `left_out`."""
    digest, there = hashlib.sha256(f"index 3 {DECODING_VERSION} {root.resolve()}".encode()), []
    for file in files:
        try:
            status = (root / file.path).stat()
        except FileNotFoundError as error:
            if not (root / file.path).is_symlink():
                raise vanished_error(root, root / file.path) from error
            left_out.append((file.path, f"“{file.path}” is a link to a file that does not exist."))
            continue
        except OSError as error:
            left_out.append((file.path, f"“{file.path}” cannot be read ({error.strerror}). Check its permissions."))
            continue
        if not stat.S_ISREG(status.st_mode):
            left_out.append((file.path, f"“{file.path}” is not a file."))
            continue
        there.append(file)
        digest.update(f"{file.path}\0{file.label}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return there, digest.hexdigest()[:24]


_Summary = tuple[np.ndarray, str, str]  # thumbnail, SHA-256, plane


def _read_summaries(paths: list[Path]) -> list[_Summary | SliceError]:
    """The thumbnail, digest and plane of each file, or the error why it is unreadable."""
    return [each if isinstance(each, SliceError) else _summarize(*each) for each in read_slices(paths)]


def _summarize(image: Slice, content: bytes) -> _Summary:
    small = thumbnail(image.network_grey8())
    return small, hashlib.sha256(content).hexdigest(), plane_of(image, small)


def _read_files(root: Path, files: list[ListedFile], progress: Progress | None) -> tuple[Dataset, bool]:
    """The dataset, and False where an error may be temporary: missing permission, or a decoder that ran out of time.

    Raises: DatasetError where a listed file has been deleted, since the rest would be another dataset.
    """
    rows, thumbnails, unreadable, is_reproducible = [], [], [], True
    with thread_pool() as pool:  # each thread waits for its own decoder
        batches = [
            [root / file.path for file in files[i : i + FILES_PER_BATCH]] for i in range(0, len(files), FILES_PER_BATCH)
        ]
        results = itertools.chain.from_iterable(pool.map(_read_summaries, batches))
        for done, (file, result) in enumerate(zip(files, results, strict=True), start=1):
            if isinstance(result, SliceError):
                if isinstance(result.__cause__, FileNotFoundError):
                    raise vanished_error(root, root / file.path) from result
                unreadable.append((file.path, str(result)))
                is_reproducible = is_reproducible and not isinstance(result.__cause__, OSError)
            else:
                thumbnails.append(result[0])
                rows.append((file.path, file.label, *result[1:]))
            if progress and (done % 100 == 0 or done == len(files)):
                progress(done, len(files))
    if not rows:
        raise DatasetError(f"None of the {len(files)} files in “{root}” is a readable image: {unreadable[0][1]}")
    table = pd.DataFrame(rows, columns=["path", "label", "sha256", "plane"])
    digest = hashlib.sha256()
    for row in table.itertuples():
        digest.update(f"{row.path}\0{row.label}\0{row.sha256}\n".encode())
    dataset = Dataset(
        root=root,
        labels=order_labels(set(table["label"])),
        table=table,
        thumbnails=np.stack(thumbnails),
        unreadable=tuple(unreadable),
        fingerprint=digest.hexdigest(),
    )
    return dataset, is_reproducible


def _save_index(dataset: Dataset, path: Path) -> None:
    """Write the index of a dataset to the cache. Raises DatasetError where that is impossible."""
    header = {
        "labels": dataset.labels,
        "table": dataset.table.to_dict(orient="list"),
        "unreadable": dataset.unreadable,
        "fingerprint": dataset.fingerprint,
    }

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, header=np.array(json.dumps(header)), thumbnails=dataset.thumbnails)

    try:
        remove_leftovers(path.parent)
        make_room(dataset.thumbnails.nbytes)
        write_atomically(path, write)
    except OSError as error:
        raise DatasetError(
            f"The cache folder “{path.parent}” cannot be written ({error.strerror}). Free some space there, or set "
            "KIDNEY_CACHE to another folder."
        ) from error


def _load_index(root: Path, path: Path) -> Dataset | None:
    """The cached index; None where there is none, or where it is damaged and has been deleted."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(str(stored["header"]))
            thumbnails = stored["thumbnails"]
        return Dataset(
            root=root,
            labels=tuple(header["labels"]),
            table=pd.DataFrame(header["table"]),
            thumbnails=thumbnails,
            unreadable=tuple((path, reason) for path, reason in header["unreadable"]),
            fingerprint=header["fingerprint"],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        path.unlink(missing_ok=True)
        return None
