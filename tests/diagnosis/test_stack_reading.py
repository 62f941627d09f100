"""A network reads a stack: as one by one, stopped and gone on with, in bounded memory, with an honest verdict."""

import dataclasses
import hashlib
import io
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from kidney_core.checkpoints import ood, prediction
from kidney_core.diagnosis import inference, stack_reading, stack_verdict, verdict
from kidney_core.imaging import slices, stack
from kidney_core.imaging.slices import Slice, Window
from kidney_core.metrics.predictions import Predictions
from kidney_core.networks import models
from kidney_core.training import publish, trainer
from tests.conftest import tiny_run, write_series_dataset
from tests.diagnosis.test_inference import made_checkpoint
from tests.imaging.test_stack import at, ct_file

LABELS = ("Cyst", "Normal", "Stone", "Tumor")
CARD = {"metrics": {"grouped": {}}, "abstention": {"threshold": 0.7}}


@pytest.fixture
def judging(tmp_path):
    """A predictor with a reference, and the folder of the images it was trained on."""
    folder = write_series_dataset(tmp_path / "many", n_series=12, n_slices=6)
    run = tiny_run(folder, "grouped", protocol="grouped", validation_fraction=0.3)
    trainer.train(run)
    return inference.open_predictor(publish.publish(run, name="judge")), folder


@pytest.fixture
def plain(tmp_path):
    """A predictor without a reference."""
    return inference.open_predictor(made_checkpoint(tmp_path / "plain"))


def stripes(i) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.roll(np.tile(np.array([0, 255], np.uint8), (48, 24)), i, axis=1)[:, : 46 - i]).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def stack_of(files):
    (found,) = stack.open_stacks(files).stacks
    return found


def files_of(folder, n):
    paths = sorted(folder.rglob("*.png"))[:: max(1, len(list(folder.rglob("*.png"))) // n)][:n]
    return [(f"{i}.png", path.read_bytes()) for i, path in enumerate(paths)]


def noise_ct(n, size_px=48):
    rng = np.random.default_rng(0)
    noise = [rng.integers(-200, 300, (size_px, size_px), dtype=np.int16) for _ in range(n)]
    return [
        (f"{z}", at(z, size_px=size_px, WindowCenter=300, WindowWidth=1500, PixelData=pixels.tobytes()))
        for z, pixels in enumerate(noise)
    ]


def test_hounsfield_units_are_read_through_soft_tissue_whatever_window_is_shown(plain):
    hu = np.random.default_rng(0).integers(-200, 300, (48, 48)).astype(np.float32)
    soft, bone = (Slice("a", hu, "HU", window) for window in (slices.SOFT_TISSUE, Window(300, 1500)))
    np.testing.assert_array_equal(bone.network_grey8(), soft.grey8())
    assert (bone.grey8() != soft.grey8()).any()
    assert inference.diagnose(plain, bone).probabilities == inference.diagnose(plain, soft).probabilities
    grey = Slice("a", (hu + 200).astype(np.uint16), "grey", Window(100, 300))
    np.testing.assert_array_equal(grey.network_grey8(), grey.grey8())


def test_familiarity_is_asked_of_what_the_network_sees(judging):
    predictor, _ = judging
    hu = np.random.default_rng(0).integers(-200, 300, (48, 48)).astype(np.float32)
    found = [
        verdict.judge(predictor, image, inference.diagnose(predictor, image)).training_match.distance
        for image in (Slice("a", hu, "HU", slices.SOFT_TISSUE), Slice("a", hu, "HU", Window(300, 1500)))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("architecture", ["test_resnet", "mobilenetv2_100", "efficientnet_b0", "test_vit"])
def test_one_pass_gives_the_features_and_the_logits_of_two(architecture):
    torch.manual_seed(0)
    model = models.build_model(architecture, 4, image_size_px=160).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 160, 160), np.uint8)
    features, logits = ood.features_and_logits(model, pixels)
    np.testing.assert_allclose(features, ood.slice_features(model, pixels), atol=1e-5)
    probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities, prediction.predict_probabilities(model, pixels), atol=1e-5)


def test_a_stack_is_read_as_its_slices_one_by_one(judging):
    predictor, folder = judging
    one = stack_of([*files_of(folder, 17), *((f"stripes {i}.png", stripes(i)) for i in range(3))])
    reading = stack_reading.read_stack(predictor, one)
    assert reading.complete
    for row, item in zip(reading.table.itertuples(), one.items, strict=True):
        image = stack.open_item(item)
        answer = inference.diagnose(predictor, image)
        judged = verdict.judge(predictor, image, answer)
        found = reading.table.loc[row.Index, [f"p_{label}" for label in LABELS]].astype(float)
        np.testing.assert_allclose(found, list(answer.probabilities.values()), atol=1e-5)
        assert (row.predicted, row.refused) == (answer.predicted_label, judged.refused)
        in_training = hashlib.sha256(item.content).hexdigest()[:12] in predictor.checkpoint.trained_on()
        assert row.seen == ((judged.seen or in_training) and not judged.refused)
    assert reading.table["refused"].any()
    assert reading.table["seen"].any()


def test_the_mean_of_the_stack_is_that_of_the_evaluation(judging):
    predictor, folder = judging
    reading = stack_reading.read_stack(predictor, stack_of(files_of(folder, 17)))
    accepted = reading.table[~reading.table["refused"]].assign(series=0, label="Cyst")
    pooled = Predictions.from_table(accepted).per_series()
    assert reading.verdict.predicted_label == pooled.table["predicted"].iat[0]
    assert list(reading.verdict.probabilities.values()) == pytest.approx(list(pooled.probabilities[0]))


def test_stopping_keeps_what_was_read_and_going_on_gives_the_very_same(judging):
    predictor, folder = judging
    one = stack_of([*files_of(folder, 20), ("10b.png", b"\x89PNG\r\n\x1a\n" + files_of(folder, 1)[0][1][8:200])])
    whole = stack_reading.read_stack(predictor, one)
    told = []
    part = stack_reading.read_stack(
        predictor, one, progress=lambda *counts: told.append(counts), stop=lambda: len(told) == 1
    )
    assert told == [(8, 42)]
    assert (part.n_read, part.n_predicted, part.complete) == (8, 0, False)
    assert "13 have not been read yet" in part.verdict.steps[0].reason
    rest = stack_reading.read_stack(predictor, one, earlier=part, progress=lambda *counts: told.append(counts))
    assert told[1:3] == [(16, 42), (21, 42)]
    assert told[-1] == (24, 24)  # 21 slices, and the 20 readable ones in 3 batches
    assert (rest.complete, rest.n_predicted, rest.n_steps_done) == (True, 20, rest.n_steps)
    pd.testing.assert_frame_equal(rest.table, whole.table, check_exact=True)
    assert rest.verdict == whole.verdict
    for one_preview, other in zip(rest.previews, whole.previews, strict=True):
        np.testing.assert_array_equal(one_preview, other)


def test_stopping_at_once_gives_an_empty_reading_that_can_be_gone_on_with(plain):
    one = stack_of(noise_ct(5))
    none = stack_reading.read_stack(plain, one, stop=lambda: True)
    assert (none.n_read, none.verdict.outcome, none.verdict.predicted_label) == (0, "pending", None)
    whole = stack_reading.read_stack(plain, one, earlier=none)
    pd.testing.assert_frame_equal(whole.table, stack_reading.read_stack(plain, one).table, check_exact=True)


def test_a_slice_that_cannot_be_read_is_told_in_its_row_and_left_out(plain):
    files = noise_ct(4)
    files[2] = ("2", files[2][1][:-900])
    reading = stack_reading.read_stack(plain, stack_of(files))
    assert list(reading.table["problem"] != "") == [False, False, True, False]
    assert "cannot be decoded" in reading.table["problem"][2]
    assert reading.table["p_Cyst"].isna().tolist() == [False, False, True, False]
    assert reading.previews[2] is None
    assert reading.table["position_mm"].tolist() == [0, 1, 2, 3]
    assert reading.verdict.steps[0].reason.startswith("3 of 4 slices were read. 1 could not be decoded")
    assert sum(reading.verdict.probabilities.values()) == pytest.approx(1)


def test_a_checkpoint_without_a_reference_refuses_nothing_and_says_so(plain):
    reading = stack_reading.read_stack(plain, stack_of(noise_ct(4)))
    assert not reading.table[["refused", "seen"]].any(axis=None)
    assert {step.title: step.outcome for step in reading.verdict.steps}["Out-of-distribution check"] == "not checked"


def test_previews_are_small_and_keep_the_shape(plain):
    one = stack_of([("a", ct_file(0, Rows=300, Columns=600, PixelData=b"\0\0\1\0" * (150 * 600)))])
    (preview,) = stack_reading.read_stack(plain, one).previews
    assert preview.shape == (96, 192)
    assert preview.dtype == np.uint8


@pytest.mark.parametrize(("n_slices", "side_px"), [(1, 192), (200, 192), (600, 110), (3000, 96)])
def test_previews_of_many_slices_are_smaller(n_slices, side_px):
    """200 x 192 x 192 pixels in all: 600 slices get the square root of a third of 192 x 192, which is 110.9."""
    assert stack_reading._preview_side(n_slices) == side_px


def test_a_slice_on_which_nothing_can_be_seen_is_left_out_with_the_reason(plain):
    empty = ct_file(0, Rows=64, Columns=64, PixelData=bytes(2 * 64 * 64), ImagePositionPatient=[0, 0, 90])
    files = [*noise_ct(3, size_px=64), ("empty", empty)]
    reading = stack_reading.read_stack(plain, stack_of(files), is_scan=False)
    problems = [problem for problem in reading.table["problem"] if problem]
    assert problems == [
        "“empty” cannot be used. Every pixel has the same value, so there is nothing to see. Export the slice again."
    ]


def test_read_stack__error_reading_of_another_stack(plain):
    earlier = stack_reading.read_stack(plain, stack_of(noise_ct(3)))
    with pytest.raises(ValueError, match="earlier must be a reading of this stack"):
        stack_reading.read_stack(plain, stack_of([(f"{z}", at(z, 7)) for z in range(3)]), earlier=earlier)
    by_another = dataclasses.replace(earlier, checkpoint_name="another")
    with pytest.raises(ValueError, match="got one by 'another'"):
        stack_reading.read_stack(plain, stack_of(noise_ct(3)), earlier=by_another)


@pytest.mark.slow
def test_memory_does_not_hold_the_decoded_slices(plain):
    ramp = np.tile(np.arange(256, dtype="<i2"), 256)
    one = stack_of([(f"{z}", at(z, z, size_px=256, PixelData=(ramp + z).tobytes())) for z in range(200)])
    stack_reading.read_stack(plain, dataclasses.replace(one, items=one.items[:8]))
    tracemalloc.start()
    reading = stack_reading.read_stack(plain, one)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    previews = sum(preview.nbytes for preview in reading.previews)
    decoded = 200 * 256 * 256 * 4
    assert peak - previews < decoded / 8


def rows(p, *, refused=(), seen=(), trained=(), problem=(), sides=()):
    """A table of slices with these probabilities (N, 4)."""
    table = pd.DataFrame({"problem": [("damaged" if i in problem else "") for i in range(len(p))]})
    table["refused"], table["trained"] = table.index.isin(refused), table.index.isin(trained)
    table["seen"] = table.index.isin((*seen, *trained))
    table["sides"], table["fault"] = sides if len(sides) else None, 0
    silent = (table["problem"] != "") | (table["sides"] == "")
    table["predicted"] = pd.Series([LABELS[int(np.argmax(each))] for each in p], dtype=object).where(~silent, None)
    return table.assign(**{f"p_{label}": np.asarray(p)[:, i] for i, label in enumerate(LABELS)})


def judged(table, card=CARD):
    return stack_verdict.judge_stack(table, card, n_read=len(table), has_reference=True)


def of(label, p=0.91):
    return [p if each == label else (1 - p) / 3 for each in LABELS]


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (rows([of("Cyst")] * 4), "answered"),
        (rows([of("Cyst", 0.6)] * 4), "undecided"),
        (rows([of("Cyst")] * 4, refused=(0, 1)), "answered"),
        (rows([of("Cyst")] * 4, refused=(0, 1, 2)), "answered"),
        (rows([of("Cyst")] * 4, refused=range(4)), "refused"),
        (rows([of("Cyst")] * 5, refused=(0, 1), problem=(3,)), "answered"),
        (rows([of("Cyst")] * 4, seen=(0, 1)), "answered"),
        (rows([of("Cyst")] * 4, seen=(0, 1, 2)), "memory"),
        (rows([of("Cyst")] * 4, refused=(0, 1), seen=(2, 3)), "memory"),
        (rows([of("Cyst")] * 4, problem=range(4)), "refused"),
    ],
)
def test_the_verdict_outcome(table, word):
    assert judged(table).outcome == word


def test_one_slice_in_training_is_memory_and_a_few_alike_are_a_warning():
    assert judged(rows([of("Cyst")] * 9, trained=(4,))).outcome == "memory"
    found = judged(rows([of("Cyst")] * 9, seen=(4, 5)))
    assert found.outcome == "answered"
    seen = next(step for step in found.steps if step.title == "Seen in training")
    assert seen.outcome == "warning"
    assert "too many to rule it out" in seen.reason
    assert judged(rows([of("Cyst")] * 9)).steps[3].outcome == "passed"


def test_without_a_good_threshold_the_stack_is_undecided_and_without_any_half_is_asked():
    assert judged(rows([of("Cyst")]), {"abstention": {"threshold": None, "accepted_error": 0.1}}).outcome == "undecided"
    assert judged(rows([of("Cyst", 0.55)]), {}).outcome == "answered"
    assert judged(rows([of("Cyst", 0.45)]), {}).outcome == "undecided"


def test_refused_and_unreadable_slices_are_in_no_mean():
    found = judged(rows([of("Cyst"), of("Tumor"), of("Stone"), of("Cyst", 0.7)], refused=(1,), problem=(2,)))
    assert found.probabilities["Cyst"] == pytest.approx((0.91 + 0.7) / 2)
    assert found.share_refused == pytest.approx(1 / 3)


def test_the_slices_that_drive_the_verdict_are_the_most_probable_ones():
    found = judged(rows([of("Cyst", p) for p in (0.5, 0.9, 0.6, 0.95, 0.55, 0.58, 0.99)], refused=(6,)))
    assert [driver.index for driver in found.driving] == [3, 1, 2, 5, 4]
    assert found.driving[0].share == pytest.approx(0.95 / (0.5 + 0.9 + 0.6 + 0.95 + 0.55 + 0.58))


def test_a_lesion_on_few_slices_is_told_though_the_mean_hides_it():
    p = [of("Normal")] * 20
    p[5], p[11], p[12], p[13], p[14] = (
        of("Stone", 0.99),
        of("Stone", 0.6),
        of("Stone", 0.8),
        of("Stone", 0.7),
        of("Cyst"),
    )
    found = judged(rows(p, refused=(14,)))
    assert (found.predicted_label, found.outcome) == ("Normal", "answered")
    peaks = {peak.label: peak for peak in found.peaks}
    assert list(peaks) == ["Cyst", "Stone", "Tumor"]
    assert (peaks["Stone"].index, peaks["Stone"].run, peaks["Stone"].n_in_run) == (5, (11, 13), 3)
    assert (peaks["Cyst"].run, peaks["Cyst"].n_in_run) == (None, 0)
    assert "measured on the public dataset" in found.steps[-1].reason
    assert "Stone on slices 12 to 14, up to 99 %" in found.steps[-1].reason


def test_a_refused_slice_ends_a_run():
    found = judged(rows([of("Stone")] * 7, refused=(3,)))
    assert {peak.label: peak.run for peak in found.peaks}["Stone"] == (0, 2)
