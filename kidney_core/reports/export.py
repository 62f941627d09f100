"""Everything behind a page of figures in one zip, from which a stranger can recompute the numbers.

<checkpoint>/predictions-<measured>.csv     test slices with their probabilities
<checkpoint>/figures/<measured>-<what>.svg  confusion, roc, reliability
<checkpoint>/card.json, model-card.md, claim-2024.md
comparison.csv                              one row a checkpoint and protocol
report.html                                 all of it, opens without a network
manifest.json                               every figure and interval, how they were computed, SHA-256 of each file

`python -m kidney_core.report_check ZIP` says what it recomputes from the predictions.
"""

import hashlib
import io
import json
import time
import zipfile
from typing import Any

import pandas as pd
from jinja2 import Environment

from kidney_core import __version__, evaluation, intervals, model_card, print_figures
from kidney_core.checkpoint import Checkpoint
from kidney_core.errors import CheckpointError
from kidney_core.figures import percent, percent_range, report_with_intervals
from kidney_core.files import read_table
from kidney_core.splits import MEASURED, PROTOCOL_NAMES, PROTOCOL_TITLES

EXPORT_FORMAT = 2
SEED = 0
_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Kidney CT report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #16262b; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { border: 1px solid #d5dfe2; padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } .row { display: flex; flex-wrap: wrap; gap: 1rem; } svg { max-width: 22rem; height: auto; }
.notice { border-left: 4px solid #d55e00; padding-left: 1rem; } code { overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #0f171a; color: #e4ecee; } svg { background: #fff; } }
</style></head><body>
<h1>Kidney CT report</h1>
<p class="notice">{{ notice }}</p>
<p>Made {{ created }} with Kidney CT workbench {{ version }}. <b>Random split</b> is the protocol of most publications: slices of the
same scan stand on both sides. <b>Scans never seen</b> is what a new patient can expect. In brackets, 95 % intervals by
bootstrap over series. Check every number: <code>python -m kidney_core.report_check</code> on the zip this came in.</p>
<h2>Comparison</h2>{{ comparison | safe }}
{% for part in parts %}<h2>{{ part.name }}</h2><p><code>{{ part.command }}</code></p>
{% for each in part.measured %}<h3>{{ each.title }}</h3><p>{{ each.lead }}</p>{{ each.table | safe }}
<div class="row">{% for figure in each.figures %}{{ figure | safe }}{% endfor %}</div>{% endfor %}
<h3>Limits</h3><ul>{% for limit in part.limits %}<li>{{ limit }}</li>{% endfor %}</ul>{% endfor %}
</body></html>
"""


def figures_of(predictions: pd.DataFrame, *, n_resamples: int = intervals.N_RESAMPLES) -> dict[str, Any]:
    """What the manifest says of one prediction table, and what a check recomputes."""
    found = intervals.intervals(predictions, n_resamples=n_resamples, seed=SEED)
    per_series = evaluation.figures(evaluation.per_series(predictions))
    return {
        "figures": evaluation.figures(predictions),
        "intervals": {name: [each.low, each.high] for name, each in found.items()},
        "per_series": {name: per_series[name] for name in ("n", "accuracy", "balanced_accuracy", "confusion")},
    }


def export_zip(checkpoints: list[Checkpoint]) -> bytes:
    """The zip of some checkpoints as bytes.

    Raises: CheckpointError when none of them has stored predictions.
    """
    files: dict[str, bytes] = {}
    manifest: dict[str, Any] = {
        "format": EXPORT_FORMAT,
        "created": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "software": {"kidney-ct-workbench": __version__},
        "bootstrap": {"over": "series, within each class", "n_resamples": intervals.N_RESAMPLES, "seed": SEED},
        "checkpoints": {},
    }
    parts, rows = [], []
    for checkpoint in checkpoints:
        part = _add_checkpoint(checkpoint, files, manifest, rows)
        if part["measured"]:
            parts.append(part)
    if not parts:
        raise CheckpointError(
            "None of these checkpoints has stored predictions to export. Publish them again from their runs."
        )
    comparison = pd.DataFrame(rows)
    files["comparison.csv"] = comparison.to_csv(index=False).encode()
    files["report.html"] = _report(manifest["created"], parts, comparison).encode()
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _add_checkpoint(
    checkpoint: Checkpoint, files: dict[str, bytes], manifest: dict[str, Any], rows: list[dict]
) -> dict[str, Any]:
    """Put a checkpoint's files and numbers into the zip's content; what the report shows of it."""
    name, measured, shown = checkpoint.name, {}, []
    for protocol in MEASURED:
        stored = checkpoint.predictions_csv(protocol) if checkpoint.figures(protocol) else None
        if stored is None:
            continue
        predictions, file = read_table(io.BytesIO(stored)), f"{name}/predictions-{protocol}.csv"
        files[file] = stored
        measured[protocol] = {"predictions": file, **figures_of(predictions)}
        title = f"{name}, {PROTOCOL_NAMES[protocol]}"
        drawn = {what: draw(predictions, title) for what, draw in print_figures.FIGURES.items()}
        files |= {f"{name}/figures/{protocol}-{what}.svg": svg.encode() for what, svg in drawn.items()}
        rows.append(comparison_row(name, protocol, measured[protocol]))
        svgs = [svg[svg.index("<svg") :] for svg in drawn.values()]
        shown.append({**report_part(protocol, measured[protocol]), "figures": svgs})
    files[f"{name}/card.json"] = (checkpoint.folder / "card.json").read_bytes()
    files[f"{name}/model-card.md"] = model_card.markdown(checkpoint).encode()
    files[f"{name}/claim-2024.md"] = model_card.claim_checklist(checkpoint).encode()
    manifest["checkpoints"][name] = {"weights_sha256": checkpoint.card["weights_sha256"], "measured": measured}
    return {"name": name, "command": checkpoint.card["command"], "limits": checkpoint.card["limits"], "measured": shown}


def comparison_row(name: str, protocol: str, measured: dict[str, Any]) -> dict[str, Any]:
    """A row of comparison.csv from what the manifest says of one prediction table."""
    row = {"checkpoint": name, "protocol": PROTOCOL_NAMES[protocol], "slices": measured["figures"]["n"]}
    for key in ("accuracy", "balanced_accuracy"):
        low, high = measured["intervals"][key]
        row |= {key: measured["figures"][key], f"{key}_low": low, f"{key}_high": high}
    return row


def report_part(protocol: str, measured: dict[str, Any]) -> dict[str, str]:
    """The numbers of report.html that one prediction table gives: a lead sentence and a table."""
    found = measured["figures"]
    lead = (
        f"{found['n']:,} slices: accuracy {percent(found['accuracy'])}, balanced accuracy "
        f"{percent(found['balanced_accuracy'])}."
    )
    table = report_with_intervals(found, measured["intervals"]).to_html()
    return {"title": PROTOCOL_TITLES[protocol].capitalize(), "lead": lead, "table": table}


def _readable(comparison: pd.DataFrame) -> pd.DataFrame:
    """The comparison with each interval in brackets behind its figure."""
    shown = comparison[["checkpoint", "protocol", "slices"]].copy()
    for name, title in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy")):
        ranges = zip(comparison[f"{name}_low"], comparison[f"{name}_high"], strict=True)
        shown[title] = [
            f"{percent(value)} ({percent_range(*ends)})" for value, ends in zip(comparison[name], ranges, strict=True)
        ]
    return shown


def _report(created: str, parts: list[dict], comparison: pd.DataFrame) -> str:
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    return template.render(
        notice="For research and teaching. Not a medical device: not for diagnosis or treatment of patients.",
        created=created,
        version=__version__,
        comparison=_readable(comparison).to_html(index=False),
        parts=parts,
    )
