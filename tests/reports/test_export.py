"""The export: a stranger recomputes every number, and a changed one is found."""

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kidney_core.checkpoints import checkpoint, model_card
from kidney_core.common.errors import CheckpointError
from kidney_core.metrics.predictions import Predictions
from kidney_core.reports import export, report_check
from kidney_core.training import publish, trainer
from tests.conftest import ROOT, tiny_run
from tests.diagnosis.test_inference import made_checkpoint
from tests.hardness import hostile_world, names
from tests.metrics.test_intervals import made_predictions


@pytest.fixture
def exported(published, tmp_path):
    path = tmp_path / "report.zip"
    path.write_bytes(export.export_zip([published]))
    return path


def rewritten(path, name, change):
    """The zip with one of its files changed."""
    with zipfile.ZipFile(path) as archive:
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    content[name] = change(content[name])
    with zipfile.ZipFile(path, "w") as archive:
        for entry, body in content.items():
            archive.writestr(entry, body)
    return path


def test_an_export_of_an_older_checkpoint_agrees(published_by_0_1, tmp_path):
    path = tmp_path / "old.zip"
    path.write_bytes(export.export_zip([published_by_0_1]))
    n_compared, differing = report_check.check(path)
    assert n_compared > 50
    assert not differing


def test_an_export_of_0_5_states_no_clinical_figures_and_agrees(exported):
    def as_0_5(body):
        manifest = json.loads(body)
        for described in manifest["checkpoints"].values():
            for stated in described["measured"].values():
                del stated["clinical"]
        return json.dumps({**manifest, "format": 2}).encode()

    assert report_check.check(rewritten(exported, "manifest.json", as_0_5))[1] == []


def test_a_stranger_recomputes_every_number(exported):
    done = subprocess.run(
        [sys.executable, "-m", "kidney_core.reports.report_check", str(exported)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    compared = int(re.search(r"([\d,]+) numbers and files compared: all agree", done.stdout)[1].replace(",", ""))
    assert compared > 200


def test_the_card_of_a_network_that_learned_nothing_agrees_too(small_dataset, tmp_path):
    """Its probabilities differ in late digits, which are not stored: ties change AUC and AP."""
    run = tiny_run(small_dataset)
    trainer.train(run)
    predictions = Predictions.read_csv(run.folder / "predictions.csv")
    nearly_equal = 0.25 + 1e-6 * (predictions.probabilities - 0.25)
    rows = predictions.table[["path", "label", "series", "plane"]]
    content = Predictions.from_probabilities(rows, nearly_equal, predictions.labels).csv_bytes(digits=12)
    (run.folder / "predictions.csv").write_bytes(content)
    path = tmp_path / "report.zip"
    path.write_bytes(export.export_zip([publish.publish(run, name="untrained")]))
    n_compared, differing = report_check.check(path)
    assert n_compared > 50
    assert not differing


def test_the_zip_holds_what_its_description_says(exported):
    with zipfile.ZipFile(exported) as archive:
        names = set(archive.namelist())
        report = archive.read("report.html").decode()
        manifest = json.loads(archive.read("manifest.json"))
    for protocol in ("grouped", "random"):
        assert f"tiny/predictions-{protocol}.csv" in names
        assert {f"tiny/figures/{protocol}-{what}.svg" for what in ("confusion", "roc", "reliability")} <= names
    assert {"tiny/card.json", "tiny/model-card.md", "tiny/claim-2024.md", "comparison.csv"} <= names
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert report.count("<svg") == 6
    assert "Not a medical device" in report
    assert not re.search(r"(src|href)=.?https?:", report)  # opens without a network


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "tiny/card.json",
            lambda body: body.replace(b'"accuracy": 0.', b'"accuracy": 7.', 1),
            "card.json, accuracy: stated 7",
        ),
        ("report.html", lambda body: body.replace(b"slices: accuracy", b"slices: precision", 1), "shows another lead"),
        ("report.html", lambda body: body.replace(b"<td>", b"<td>9", 1), "report.html"),
        (
            "comparison.csv",
            lambda body: re.sub(rb",0\.\d+", b",0.123", body, count=1),
            r"comparison\.csv, tiny, accuracy: stated 0\.123",
        ),
        (
            "manifest.json",
            lambda body: b'{"format": 2, "files": {}, "checkpoints": {}}',
            "gives no figures for tiny/predictions",
        ),
        ("comparison.csv", lambda body: body + b"x", "the file comparison.csv is missing or was changed"),
        (
            "manifest.json",
            lambda body: re.sub(rb'"accuracy": 0\.\d+', b'"accuracy": 0.999', body, count=1),
            r"figures, accuracy: stated 0\.999, recomputed",
        ),
        ("manifest.json", lambda body: re.sub(rb'"n": \d+', b'"n": 7', body, count=1), "figures, n: stated 7"),
        (
            "manifest.json",
            lambda body: re.sub(rb'"brier": 0\.\d+', b'"brier": 0.001', body, count=1),
            r"clinical, figures, Abnormal, brier: stated 0\.001, recomputed",
        ),
        (
            "report.html",
            lambda body: re.sub(
                rb"(Net benefit of acting on Stone</h4>.*?<td>)-?0\.", rb"\g<1>9.", body, count=1, flags=re.DOTALL
            ),
            "report.html shows another table “Net benefit of acting on Stone”",
        ),
    ],
)
def test_a_changed_file_or_number_is_named(exported, capsys, name, change, message):
    assert report_check.main([str(rewritten(exported, name, change))]) == 1
    assert re.search(message, capsys.readouterr().out)


def test_predictions_that_were_exchanged_are_found_even_with_a_matching_digest(exported, capsys):
    """Whoever forges the digest as well is caught by the numbers."""
    import hashlib

    def swap(body):
        return body.replace(b",Cyst,", b",Stone,", 2)

    rewritten(exported, "tiny/predictions-grouped.csv", swap)
    with zipfile.ZipFile(exported) as archive:
        digest = hashlib.sha256(archive.read("tiny/predictions-grouped.csv")).hexdigest()

    def forge(body):
        manifest = json.loads(body)
        manifest["files"]["tiny/predictions-grouped.csv"] = digest
        return json.dumps(manifest).encode()

    assert report_check.main([str(rewritten(exported, "manifest.json", forge))]) == 1
    printed = capsys.readouterr().out
    assert "recomputed" in printed
    assert "was changed" not in printed


def test_report_check__error_not_an_export(tmp_path, capsys):
    path = tmp_path / "a.zip"
    path.write_bytes(b"not a zip")
    assert report_check.main([str(path)]) == 2
    assert "is not a readable export" in capsys.readouterr().err
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
    assert report_check.main([str(path)]) == 2


@pytest.mark.parametrize("offset", [200, 1500, 4000])
def test_report_check__error_damaged_zip_is_a_sentence(exported, capsys, offset):
    content = bytearray(exported.read_bytes())
    content[offset : offset + 40] = b"\xff" * 40
    exported.write_bytes(content)
    assert report_check.main([str(exported)]) in (1, 2)
    printed = capsys.readouterr()
    assert printed.out or printed.err.startswith("error: ")


def test_export__error_checkpoint_without_predictions(tmp_path):
    with pytest.raises(CheckpointError, match="has stored predictions to export"):
        export.export_zip([made_checkpoint(tmp_path)])


def test_the_same_checkpoint_gives_the_same_files(published):
    def digests():
        with zipfile.ZipFile(io.BytesIO(export.export_zip([published]))) as archive:
            files = json.loads(archive.read("manifest.json"))["files"]
        return {name: digest for name, digest in files.items() if name != "report.html"}  # which says when it was made

    assert digests() == digests()


def test_the_model_card_gives_every_class_under_both_protocols_with_intervals(published):
    text = model_card.markdown(published)
    for protocol in ("Scan-level split (unseen scans)", "Random split (the paper's protocol)"):
        assert protocol in text
    assert text.count("| Stone |") == 2
    assert re.search(r"Accuracy \d+\.\d % \(–\), balanced", text)  # one test series a class bears no interval
    assert "100 % of them have other slices of the same scan in training" in text


def test_the_claim_checklist_has_its_44_items(published):
    lines = [line for line in model_card.claim_checklist(published).splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(lines) == 44
    assert all(len(line.split("|")) == 6 for line in lines)


@pytest.fixture
def exported_folder(tmp_path):
    """Two checkpoints on one folder of the user's own."""
    made = [made_checkpoint(tmp_path / "one", "test_resnet"), made_checkpoint(tmp_path / "two", "test_efficientnet")]
    evaluated = {
        checkpoint.name: made_predictions(n_series=24, skill=skill)
        for checkpoint, skill in zip(made, (2.0, 0.5), strict=True)
    }
    path = tmp_path / "own.zip"
    path.write_bytes(export.export_folder(made, evaluated, {"test_resnet/outcomes.csv": b"path,outcome\n"}))
    return path


def test_a_folder_of_ones_own_is_exported_with_paired_tests_and_recomputed(exported_folder):
    n_compared, differing = report_check.check(exported_folder)
    assert not differing
    assert n_compared > 2000
    with zipfile.ZipFile(exported_folder) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("manifest.json"))
        report = archive.read("report.html").decode()
    assert {"test_resnet/predictions-external.csv", "paired-tests-external.csv", "test_resnet/outcomes.csv"} <= names
    assert len(manifest["paired_tests"]["external"]["tests"]) == 20
    assert "Folder of your own" in report
    assert "Net benefit of acting on Stone" in report


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "paired-tests-external.csv",
            lambda body: re.sub(rb"accuracy,-?0\.\d+", b"accuracy,0.9", body, count=1),
            "it does not say what the manifest does",
        ),
        (
            "manifest.json",
            lambda body: re.sub(rb'("accuracy",\s+)-?0\.\d+', rb"\g<1>0.9", body, count=1),
            r"paired tests, external, tests, 1, 4: stated 0\.9, recomputed",
        ),
    ],
)
def test_a_changed_paired_test_is_named(exported_folder, capsys, name, change, message):
    assert report_check.main([str(rewritten(exported_folder, name, change))]) == 1
    assert re.search(message, capsys.readouterr().out)


def test_hostile_names_are_text_in_every_file_and_agree_all_the_same(tmp_path):
    hostile_world.make(tmp_path / "hostile")
    found = checkpoint.read_checkpoint(next((tmp_path / "hostile" / "checkpoints").iterdir()))
    path = tmp_path / "report.zip"
    path.write_bytes(export.export_zip([found]))
    n_compared, differing = report_check.check(path)
    assert n_compared > 200
    assert not differing
    with zipfile.ZipFile(path) as archive:
        content = {Path(name).name: archive.read(name).decode() for name in archive.namelist()}
    assert "<img" not in content["report.html"]
    assert "<b>" not in re.sub("<b>(Random split|Unseen scans)</b>", "", content["report.html"])
    for name in ("model-card.md", "claim-2024.md"):
        without_code = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", content[name])
        assert names.PICTURE not in without_code
        assert names.HOST in content[name]
    for name in [name for name in content if name.endswith(".csv")]:
        assert not re.search(r'(^|,)"?[=@]', content[name], re.M)
    assert "$a^2$" in content["grouped-confusion.svg"]
