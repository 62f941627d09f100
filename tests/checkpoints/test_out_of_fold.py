"""Which datasets a checkpoint's stored predictions are of."""

from dataclasses import replace

from kidney_core.checkpoints import out_of_fold
from kidney_core.data.dataset import read_dataset, short_hash
from tests.diagnosis.test_inference import made_checkpoint


def test_a_dataset_is_known_by_its_fingerprint_or_by_most_of_its_files(tmp_path, small_dataset):
    dataset, made = read_dataset(small_dataset), made_checkpoint(tmp_path)
    assert not out_of_fold.knows(made, dataset)
    same = replace(made, card=made.card | {"data": {"fingerprint": dataset.fingerprint}})
    assert out_of_fold.knows(same, dataset)
    assert out_of_fold.of_dataset(same, dataset) is None  # it was not cross-validated
    hashes = [short_hash(sha256) for sha256 in dataset.table["sha256"]]
    for share, known in ((0.4, False), (0.6, True)):
        unsealed = {key: value for key, value in made.card.items() if key not in ("seal_sha256", "files_sha256")}
        (made.folder / "trained-on.txt").write_text("\n".join(hashes[: int(share * len(hashes))]), encoding="utf-8")
        assert out_of_fold.knows(replace(made, card=unsealed), dataset) == known
