"""The grades of one heatmap: how far the map of a slice can be trusted, by its own network and by the other models."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from kidney_core.checkpoints import null_comparison, pointing
from kidney_core.common.errors import ModelError
from kidney_core.diagnosis import inference
from kidney_core.diagnosis.inference import Diagnosis, Predictor
from kidney_core.imaging.body import body_mask
from kidney_core.imaging.slices import Slice
from kidney_core.networks import explanation, map_grades
from kidney_core.networks.explanation import Heatmap
from kidney_core.networks.map_grades import Grade


def grade(
    predictor: Predictor, image: Slice, answer: Diagnosis, *, others: tuple[Predictor, ...] = ()
) -> tuple[Grade, ...]:
    """The grades of a diagnosis's map but those that null maps reach too, see `unproven`; empty where it has none.

    Args:
        others: predictors of other checkpoints, whose maps of the same label and method are compared with it.
    """
    if answer.heatmap is None:
        return ()
    labels, framed = predictor.checkpoint.labels, answer.framed
    drawn = inference.draw_map(
        predictor, framed, explain=answer.explained_label, against=answer.against_label, method=answer.method
    )
    batch = inference.network_input(predictor, framed)
    body = framed.fit_mask(body_mask(image.network_grey8())) > 0.5
    against = labels.index(answer.against_label) if answer.against_label else None
    draw: Callable[[Tensor], Heatmap] = lambda moved: explanation.explain(  # noqa: E731 - a closure over the question
        predictor.network, moved, drawn.target, method=answer.method, against=against
    )
    probability = null_comparison.probability_of(
        predictor.network, drawn.target, predictor.checkpoint.temperature, against
    )
    grades = [
        map_grades.faithfulness(probability, batch, drawn, body),
        map_grades.sufficiency(probability, batch, drawn, body),
        map_grades.in_body(drawn, body),
        map_grades.stability(draw, batch, drawn),
    ]
    if answer.kidneys is not None and (kidneys := framed.fit_mask(answer.kidneys.mask) > 0.5).any():
        grades.append(map_grades.in_kidneys(drawn, kidneys))
    if others:
        grades.append(map_grades.agreement(answer.heatmap, maps_of(others, image, answer)))
    shuffled = (predictor.explanations or {}).get("shuffled", {}).get(answer.method)
    if shuffled and shuffled["n"] >= pointing.LEAST_SHUFFLED:
        grades.append(map_grades.depends_on_training(shuffled["likeness"], shuffled["n"]))
    without_proof = unproven(predictor, answer.method)
    return tuple(each for each in grades if each.title not in without_proof)


def unproven(predictor: Predictor, method: str) -> dict[str, str]:
    """Title of a grade -> the null map that reaches as much, for each grade of a method that is therefore not shown."""
    grades = (predictor.explanations or {}).get("grades", {}).get(method, {})
    return {title: measured["best_null"] for title, measured in grades.items() if not measured["beats"]}


def maps_of(predictors: tuple[Predictor, ...], image: Slice, answer: Diagnosis) -> dict[str, np.ndarray]:
    """The maps of other models for the label of an answer, over the slice: name -> (H, W) in 0..1.

    Models without these labels or without such a map are left out; a map without evidence is all zero.
    """
    maps = {}
    for predictor in predictors:
        if {answer.explained_label, answer.against_label} - {None} <= set(predictor.checkpoint.labels):
            framed = inference.frame_slice(predictor, image, kidneys=answer.kidneys, explain=answer.explained_label)
            try:
                drawn = inference.draw_map(
                    predictor,
                    framed,
                    explain=answer.explained_label,
                    against=answer.against_label,
                    method=answer.method,
                )
            except ModelError:
                continue
            maps[predictor.checkpoint.name] = image.upright.back(framed.to_image(drawn.scaled()))
    return maps
