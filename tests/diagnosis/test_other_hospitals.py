"""Checkpoints on other hospitals: labelled slices and reported scans, measured, kept beside the card, and shown."""

import numpy as np
import pandas as pd
import pytest

from kidney_core.checkpoints import hospital_results, model_card
from kidney_core.checkpoints.checkpoint import OTHER_HOSPITALS_FILE, read_checkpoint
from kidney_core.common.errors import CheckpointError, DatasetError
from kidney_core.data.reported_scans import read_reported_scans
from kidney_core.diagnosis import evaluate, inference, other_hospitals
from kidney_core.kidneys import finder as finders
from kidney_core.metrics.predictions import probability_column
from tests.phantom_files import write_scan

LABELS = ("Cyst", "Normal", "Tumor")
FINDINGS = "scan,enhanced,right,right_mm,left,left_mm\nscan1,1,healthy,,cyst,20\nscan2,0,tumor+cyst,31,healthy,\nscan3,1,healthy,,healthy,\n"


@pytest.fixture
def hospitals(tmp_path):
    """One source of slices of two labels, and one of two reported scans."""
    folder = tmp_path / "hospitals"
    write_scan(folder / "a" / "Normal", "Normal", 1, n_slices=3)
    write_scan(folder / "a" / "Tumor", "Tumor", 2, n_slices=4)
    write_scan(folder / "b" / "scan1", "Cyst", 3, n_slices=4)
    write_scan(folder / "b" / "scan2", "Tumor", 4, n_slices=5)
    write_scan(folder / "b" / "scan3", "Normal", 5, n_slices=3)
    (folder / "b" / "findings.csv").write_text(FINDINGS)
    return folder


def test_findings_are_read_by_kidney(hospitals):
    first, second, _ = read_reported_scans(hospitals / "b")
    assert (first.name, first.is_enhanced, len(first.files)) == ("scan1", True, 4)
    assert first.findings["right"].is_healthy
    assert first.findings["left"].labels == ("Cyst",)
    assert first.findings["left"].size_mm == 20
    assert second.findings["right"].labels == ("Cyst", "Tumor")
    assert not second.findings["right"].is_healthy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scan,right,left\nscan1,healthy,cyst\n", "has no column “enhanced”"),
        ("scan,enhanced,right,left\nscan9,1,healthy,cyst\n", "lists the scan “scan9”, which has no folder"),
        ("scan,enhanced,right,left\n../a,1,healthy,cyst\n", "lists the scan “../a”, which has no folder"),
        ("scan,enhanced,right,left\nscan1,yes,healthy,cyst\n", "is “yes”. Give 1 with contrast agent"),
        ("scan,enhanced,right,right_mm,left\nscan1,1,cyst,big,healthy\n", "“big” of the scan “scan1” is not a size"),
        ("", "cannot be read as a table"),
    ],
)
def test_findings_that_cannot_be_used_are_a_sentence(hospitals, text, words):
    (hospitals / "b" / "findings.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_reported_scans(hospitals / "b")


def table_of(rows):
    """Kidneys as `read_scans` gives them: (scan, enhanced, side, labels, size, probability of Cyst)."""
    return pd.DataFrame(
        [
            {
                "scan": scan,
                "enhanced": enhanced,
                "side": side,
                "healthy": not labels,
                "labels": labels,
                "size_mm": size,
                **{probability_column(label): p for label, p in (("Cyst", cyst), ("Normal", 1 - cyst), ("Tumor", 0.0))},
                **{
                    f"scan_{probability_column(label)}": p
                    for label, p in (("Cyst", cyst), ("Normal", 1 - cyst), ("Tumor", 0.0))
                },
            }
            for scan, enhanced, side, labels, size, cyst in rows
        ]
    )


def test_kidneys_with_a_finding_are_told_from_healthy_ones_by_phase_and_size():
    rows = [
        ("s1", True, "right", (), None, 0.1),
        ("s1", True, "left", ("Cyst",), 30.0, 0.9),
        ("s2", True, "right", ("Cyst",), 6.0, 0.05),
        ("s2", True, "left", (), None, 0.2),
        ("s3", False, "right", ("Tumor",), None, 0.9),
        ("s3", False, "left", (), None, 0.3),
    ]
    measured = other_hospitals.measure_scans(table_of(rows), LABELS)
    of = {(row["finding"], row["phase"], row["unit"]): row for row in measured["auroc"]}
    cyst = of["Cyst", "all", "kidney"]
    assert (cyst["n_with"], cyst["n_without"], cyst["value"]) == (
        2,
        3,
        0.5,
    )  # the small one scores below all healthy ones
    large = of["Cyst, 15 mm or more", "all", "kidney"]
    assert (large["n_with"], large["n_without"], large["value"]) == (1, 3, 1.0)
    assert of["Cyst", "with contrast agent", "kidney"]["n_without"] == 2
    assert of["any of the three", "without contrast agent", "kidney"]["value"] == 1.0
    assert cyst["interval"] == [None, None]  # too few scans
    assert measured["predicted_on_healthy"]["right"] == {"Cyst": 0.0, "Normal": 1.0, "Tumor": 0.0}


def test_intervals_draw_whole_scans():
    rows = [
        (
            f"s{i}",
            True,
            side,
            ("Cyst",) if i % 2 and side == "left" else (),
            None,
            0.9 - 0.05 * i if side == "left" else 0.3,
        )
        for i in range(16)
        for side in ("right", "left")
    ]
    row = other_hospitals.measure_scans(table_of(rows), LABELS)["auroc"][0]
    low, high = row["interval"]
    assert low <= row["value"] <= high
    assert high - low > 0.01


@pytest.mark.slow
def test_sources_are_measured_and_kept_beside_the_card(hospitals, published, capsys):
    assert evaluate.main(["--outside", str(hospitals), str(published.folder), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "b: 3 scans, 6 kidneys found" in printed
    assert "Tumor: " in printed
    checkpoint = read_checkpoint(published.folder)
    sources = checkpoint.other_hospitals()["sources"]
    assert sources["a"]["n_slices"] == 7
    assert sources["a"]["labels"]["Tumor"]["n"] == 4
    assert not sources["b"]["reads_each_kidney"]
    predictor = inference.open_predictor(checkpoint, finder=finders.open_installed())
    read = other_hospitals.read_scans(predictor, read_reported_scans(hospitals / "b"))
    assert set(read["scan"]) == {"scan1", "scan2", "scan3"}
    np.testing.assert_allclose(read.filter(like="scan_p_").sum(axis=1), 1, atol=1e-6)
    lines = hospital_results.headlines(checkpoint.other_hospitals())
    assert {line.source for line in lines} == {"a", "b"}
    of_lesion = next(line for line in lines if line.source == "b")
    assert of_lesion.what == "AUROC of a lesion"
    assert of_lesion.value.startswith(of_lesion.short)
    every = hospital_results.headlines(checkpoint.other_hospitals(), findings=True)
    assert len([line for line in every if line.source == "b"]) > 3
    card = model_card.markdown(checkpoint)
    assert "## Other hospitals" in card
    assert "- b: 3 scans, 6 kidneys found" in card
    assert of_lesion.value in model_card.claim_checklist(checkpoint)

    (hospitals / "b").rename(hospitals / "c")  # measured again under another name: the earlier source is kept
    evaluate.main(["--outside", str(hospitals), str(published.folder), "--device", "cpu"])
    assert set(read_checkpoint(published.folder).other_hospitals()["sources"]) == {"a", "b", "c"}

    path = published.folder / OTHER_HOSPITALS_FILE
    path.write_text(path.read_text().replace('"n_slices": 7', '"n_slices": 9'))
    with pytest.raises(CheckpointError, match="kidney-ct evaluate --outside"):
        read_checkpoint(published.folder).other_hospitals()


def test_a_folder_without_sources_is_a_sentence(published, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert evaluate.main(["--outside", str(tmp_path / "empty"), str(published.folder)]) == 1
    assert "holds no sources. Give a folder with one folder for each hospital" in capsys.readouterr().err


def test_an_auroc_of_few_kidneys_is_not_told():
    row = {"value": 0.8, "interval": (0.6, 0.9), "n_with": 5, "n_without": 5}
    assert hospital_results.auroc_in_words(row) == "0.80 (0.60 to 0.90)"
    assert hospital_results.auroc_in_words(row | {"interval": (None, None)}) == "0.80"
    assert hospital_results.auroc_in_words(row | {"n_without": 4}) == "too few"
