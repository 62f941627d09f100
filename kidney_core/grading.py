"""The grades of one heat map: what the map of a slice is worth, told by the network itself and by the other models."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from kidney_core import diagnosis, explanation, map_grades, pointing
from kidney_core.body import body_mask
from kidney_core.diagnosis import Diagnosis, Reader
from kidney_core.errors import ModelError
from kidney_core.explanation import Heatmap
from kidney_core.map_grades import Grade
from kidney_core.slices import Slice


def grade(reader: Reader, image: Slice, answer: Diagnosis, *, others: tuple[Reader, ...] = ()) -> tuple[Grade, ...]:
    """Grade the map of an answer; empty where it has none.

    Args:
        others: readers of other checkpoints, whose maps of the same label and method are compared with it.
    """
    if answer.heatmap is None:
        return ()
    labels, seen = reader.checkpoint.labels, diagnosis.see(reader, image)
    drawn = diagnosis.draw_map(
        reader, seen, explain=answer.explained_label, against=answer.against_label, method=answer.method
    )
    batch = diagnosis.network_input(reader, seen)
    body = seen.mask(body_mask(image.network_grey8())) > 0.5
    against = labels.index(answer.against_label) if answer.against_label else None
    draw: Callable[[Tensor], Heatmap] = lambda moved: explanation.explain(  # noqa: E731 - a closure over the question
        reader.model, moved, drawn.target, method=answer.method, against=against
    )
    probability = _probability(reader, drawn.target, against)
    grades = [
        map_grades.faithfulness(probability, batch, drawn, body),
        map_grades.sufficiency(probability, batch, drawn, body),
        map_grades.in_body(drawn, body),
        map_grades.stability(draw, batch, drawn),
    ]
    if others:
        grades.append(map_grades.agreement(answer.heatmap, maps_of(others, image, answer)))
    shuffled = (reader.explanations or {}).get("shuffled", {}).get(answer.method)
    if shuffled and shuffled["n"] >= pointing.LEAST_SHUFFLED:
        grades.append(map_grades.depends_on_training(shuffled["likeness"], shuffled["n"]))
    return tuple(grades)


def _probability(reader: Reader, target: int, against: int | None) -> map_grades.Probability:
    """(B, 3, S, S) -> (B,) the calibrated probability of a label; set against another one, of these two alone."""

    def ask(images: Tensor) -> np.ndarray:
        logits = reader.model(images).double() / reader.checkpoint.temperature
        chosen = logits if against is None else logits[:, [target, against]]
        return chosen.softmax(dim=1)[:, target if against is None else 0].cpu().numpy()

    return ask


def maps_of(readers: tuple[Reader, ...], image: Slice, answer: Diagnosis) -> dict[str, np.ndarray]:
    """The maps of other models for the label of an answer, over the slice: name -> (H, W) in 0..1.

    Models that do not know its labels or cannot be explained are left out; a map without evidence is all zero.
    """
    found = {}
    for reader in readers:
        if {answer.explained_label, answer.against_label} - {None} <= set(reader.checkpoint.labels):
            seen = diagnosis.see(reader, image)
            try:
                drawn = diagnosis.draw_map(
                    reader, seen, explain=answer.explained_label, against=answer.against_label, method=answer.method
                )
            except ModelError:
                continue
            found[reader.checkpoint.name] = seen.over(drawn.scaled())
    return found
