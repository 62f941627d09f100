"""Checkpoints against damage, exchange and malice (point 6), beside the line of the table."""

import gzip
import json

import pytest

from kidney_core.checkpoints import checkpoint, ood, seal
from kidney_core.common import digests
from kidney_core.common.errors import CheckpointError
from kidney_core.common.files import write_json
from kidney_core.diagnosis import inference
from tests.hardness import checkpoints


@pytest.fixture
def complete(tmp_path):
    """A checkpoint with every file that one can have."""
    (tmp_path / "checkpoints").mkdir()
    return checkpoints.make_complete(tmp_path / "checkpoints" / "complete")


def test_listing_cards_reads_no_weights(complete, monkeypatch):
    read = []
    original = digests.read_file
    monkeypatch.setattr(
        digests, "read_file", lambda path, **options: read.append(path.name) or original(path, **options)
    )
    checkpoint.list_checkpoints()
    assert read == ["card.json"]
    inference.open_predictor(complete)
    assert {"model.safetensors", "reference.safetensors", "trained-on.txt", "explanations.json"} <= set(read)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": {"size_px": 10**9}}, "its images have 1000000000 px"),
        ({"preprocessing": {}}, "its images have None px"),
        ({"temperature": 0}, "its temperature is 0"),
        ({"temperature": float("nan")}, "its temperature is nan"),
        ({"labels": ["Cyst", "Cyst"]}, "are not different names"),
        ({"labels": [{}, "Cyst"]}, "are not different names"),
        ({"labels": [str(i) for i in range(5000)]}, "it has 5000 labels"),
    ],
)
def test_read_checkpoint__error_sealed_card_that_cannot_be_true(complete, changes, message):
    write_json(complete.folder / "card.json", digests.add_seal({**complete.card, **changes}))
    with pytest.raises(CheckpointError, match=f"cannot be true: .*{message}"):
        checkpoint.read_checkpoint(complete.folder)


def test_read_checkpoint__error_nested_or_endless_card(complete):
    path = complete.folder / "card.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(CheckpointError, match="no readable card.json .*nested too deeply"):
        checkpoint.read_checkpoint(complete.folder)
    with path.open("wb") as file:
        file.truncate(digests.MAX_JSON_BYTES + 1)
    with pytest.raises(CheckpointError, match="the limit for such a file is"):
        checkpoint.read_checkpoint(complete.folder)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="is not a file"):
        checkpoint.read_checkpoint(complete.folder)


def test_a_file_that_the_card_does_not_describe_is_refused(complete):
    (complete.folder / "predictions-cross-validated.csv").write_text("path\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not among the files its card describes"):
        complete.predictions("cross-validated")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"path,label\n" * 10_000, mtime=0), "unpacks to more than"),
        (gzip.compress(b"path,label\n" * 5_000, mtime=0)[:-9], "ended before"),
        (b"path,label\n", "Not a gzipped file"),
        (gzip.compress(b"path,label\n", mtime=0), "it has no column “p_Cyst”"),
    ],
)
def test_predictions__error_sealed_file_that_is_no_packed_table(complete, monkeypatch, content, message):
    monkeypatch.setattr(checkpoint, "_MAX_TABLE_BYTES", 100_000)
    (complete.folder / "predictions-random.csv.gz").write_bytes(content)
    with pytest.raises(CheckpointError, match="not the file that its card lists"):
        complete.predictions("random")
    with pytest.raises(CheckpointError, match=f"not a table of predictions .*{message}"):
        seal.seal(complete.folder).predictions("random")


def test_a_card_of_an_older_version_says_so_and_can_be_sealed(published_by_0_1):
    assert "not sealed" in published_by_0_1.seal_warning
    assert str(published_by_0_1.folder) in published_by_0_1.seal_warning
    inference.open_predictor(published_by_0_1)
    assert published_by_0_1.predictions("random") is not None
    assert seal.main([str(published_by_0_1.folder)]) == 0
    again = checkpoint.read_checkpoint(published_by_0_1.folder)
    assert again.seal_warning == ""
    assert {key: again.card[key] for key in published_by_0_1.card} == published_by_0_1.card


def test_predictions__error_names_the_file_of_an_older_version(published_by_0_1):
    (published_by_0_1.folder / "predictions-random.csv").write_text("path\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"predictions-random\.csv” is not a table of predictions"):
        published_by_0_1.predictions("random")


def test_seal__error_weights_that_the_card_does_not_describe(published_by_0_1, capsys):
    path = published_by_0_1.folder / checkpoint.WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1])
    assert seal.main([str(published_by_0_1.folder)]) == 1
    assert "is not the file that its card lists" in capsys.readouterr().err
    assert "seal_sha256" not in json.loads((published_by_0_1.folder / "card.json").read_text(encoding="utf-8"))


def test_reference__error_metadata_missing(tmp_path):
    from safetensors.numpy import save

    path = tmp_path / "reference.safetensors"
    path.write_bytes(save({}))
    with pytest.raises(CheckpointError, match="is damaged"):
        ood.load(path)
