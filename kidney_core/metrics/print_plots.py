"""Figures for print, as SVG: confusion matrix, ROC curves, reliability. Drawn without a display, by any thread."""

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from kidney_core.common.labels import color_of
from kidney_core.metrics import calibration, evaluation
from kidney_core.metrics.predictions import Predictions


def confusion_svg(predictions: Predictions, title: str) -> str:
    """Rows true, columns predicted; counts, and shares of the row as shades."""
    labels = [_plain(label) for label in predictions.labels]
    counts = evaluation.confusion_matrix(predictions.y_true, predictions.y_pred, len(labels))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(4.6, 4.2))
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(labels)):
        for column in range(len(labels)):
            text = f"{counts[row, column]:,}\n{100 * share[row, column]:.0f} %"
            color = "white" if share[row, column] > 0.55 else "black"
            axes.text(column, row, text, ha="center", va="center", color=color)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true", title=_plain(title, 44))
    return _svg(figure)


def roc_svg(predictions: Predictions, title: str) -> str:
    """One-vs-rest ROC curves with their AUC."""
    figure = Figure(figsize=(4.6, 4.2))
    axes = figure.subplots()
    for label, truth, score in evaluation.one_vs_rest(predictions):
        false_positive, true_positive, _ = roc_curve(truth, score)
        color = color_of(label, predictions.labels)
        axes.plot(
            false_positive,
            true_positive,
            color=color,
            label=f"{_plain(label)} ({auc(false_positive, true_positive):.3f})",
        )
    axes.plot([0, 1], [0, 1], ":", color="#999999")
    axes.set(xlabel="false positive rate", ylabel="recall", title=_plain(title, 44))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return _svg(figure)


def reliability_svg(predictions: Predictions, title: str) -> str:
    """Accuracy over confidence, with the expected calibration error."""
    measured = calibration.reliability(predictions.probabilities, predictions.y_true)
    kept = measured.count > 0
    figure = Figure(figsize=(4.6, 4.2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], ":", color="#999999")
    axes.plot(measured.confidence[kept], measured.accuracy[kept], "o-", color="#0072B2")
    axes.set(
        xlabel="confidence",
        ylabel="accuracy",
        title=f"{_plain(title, 44)}\nECE {100 * measured.error:.1f} %",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    return _svg(figure)


FIGURES = {"confusion": confusion_svg, "roc": roc_svg, "reliability": reliability_svg}


def _plain(name: str, width: int = 24) -> str:
    """A name as text of a figure, in which Matplotlib reads formulas between dollars; cut where it leaves no room."""
    return (name if len(name) <= width else name[: width - 1] + "…").replace("$", r"\$")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.set_layout_engine("tight")
    # No date and a fixed salt: the same numbers give the same file.
    with rc_context({"svg.hashsalt": "kidney-ct", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()
