"""Everything behind the Evaluation page in one zip, from which anyone can recompute the numbers.

<checkpoint>/predictions-<measured>.csv     test slices with their probabilities
<checkpoint>/figures/<measured>-<what>.svg  confusion, roc, reliability
<checkpoint>/card.json, model-card.md, claim-2024.md
comparison.csv                              one row a checkpoint and protocol
report.html                                 all of it, opens without a network
manifest.json                               every metric and interval, how they were computed, SHA-256 of each file

`kidney-ct report-check ZIP` says what it recomputes from the predictions.
"""

import hashlib
import io
import json
import time
import zipfile
from typing import Any

import pandas as pd
from jinja2 import Environment

from kidney_core import NOTICE, __version__
from kidney_core.checkpoints import model_card
from kidney_core.checkpoints.checkpoint import Checkpoint
from kidney_core.common import spreadsheet
from kidney_core.common.errors import CheckpointError
from kidney_core.metrics import intervals, print_plots
from kidney_core.metrics.number_format import percent, percent_range
from kidney_core.metrics.splits import MEASURED, PROTOCOL_NAMES
from kidney_core.reports import export_numbers

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
same scan are in training and test (data leakage). <b>Unseen scans</b> is a scan-level split: what to expect for a new patient. In brackets, 95 % intervals by
bootstrap over scans. Check every number: <code>kidney-ct report-check</code> on the zip this came in.</p>
<h2>Comparison</h2>{{ comparison | safe }}
{% for part in parts %}<h2>{{ part.name }}</h2><p><code>{{ part.command }}</code></p>
{% for each in part.measured %}<h3>{{ each.title }}</h3><p>{{ each.lead }}</p>{{ each.table | safe }}
<div class="row">{% for figure in each.figures %}{{ figure | safe }}{% endfor %}</div>
<details><summary>Clinical use</summary>{% for table in each.clinical %}{{ table | safe }}{% endfor %}</details>
{% endfor %}
<h3>Limits</h3><ul>{% for limit in part.limits %}<li>{{ limit }}</li>{% endfor %}</ul>{% endfor %}
</body></html>
"""


def export_zip(checkpoints: list[Checkpoint]) -> bytes:
    """The zip of some checkpoints as bytes.

    Raises: CheckpointError when none of them has stored predictions.
    """
    files: dict[str, bytes] = {}
    manifest: dict[str, Any] = {
        "format": export_numbers.EXPORT_FORMAT,
        "created": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "software": {"kidney-ct-workbench": __version__},
        "bootstrap": {
            "over": "scans, within each class",
            "n_resamples": intervals.N_RESAMPLES,
            "seed": export_numbers.SEED,
        },
        "checkpoints": {},
    }
    parts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for checkpoint in checkpoints:
        part = _add_checkpoint(checkpoint, files, manifest, rows)
        if part["measured"]:
            parts.append(part)
    if not parts:
        raise CheckpointError(
            "None of these checkpoints has stored predictions to export. Publish them again from their runs."
        )
    comparison = pd.DataFrame(rows)
    files["comparison.csv"] = spreadsheet.to_csv(comparison)
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
        stored = checkpoint.predictions_csv(protocol) if checkpoint.metrics(protocol) else None
        predictions = checkpoint.predictions(protocol)
        if stored is None or predictions is None:
            continue
        file = f"{name}/predictions-{protocol}.csv"
        files[file] = spreadsheet.escape_csv(stored)
        stated = export_numbers.stated_of(predictions)
        measured[protocol] = {"predictions": file, **stated.entry}
        title = f"{name}, {PROTOCOL_NAMES[protocol]}"
        drawn = {what: draw(predictions, title) for what, draw in print_plots.FIGURES.items()}
        files |= {f"{name}/figures/{protocol}-{what}.svg": svg.encode() for what, svg in drawn.items()}
        rows.append(export_numbers.comparison_row(name, protocol, measured[protocol]))
        svgs = [svg[svg.index("<svg") :] for svg in drawn.values()]
        part = export_numbers.report_part(protocol, measured[protocol])
        shown.append({**part, "figures": svgs, "clinical": list(stated.clinical.values())})
    files[f"{name}/card.json"] = (checkpoint.folder / "card.json").read_bytes()
    files[f"{name}/model-card.md"] = model_card.markdown(checkpoint).encode()
    files[f"{name}/claim-2024.md"] = model_card.claim_checklist(checkpoint).encode()
    manifest["checkpoints"][name] = {"weights_sha256": checkpoint.card["weights_sha256"], "measured": measured}
    return {"name": name, "command": checkpoint.card["command"], "limits": checkpoint.card["limits"], "measured": shown}


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
        notice=NOTICE,
        created=created,
        version=__version__,
        comparison=_readable(comparison).to_html(index=False),
        parts=parts,
    )
