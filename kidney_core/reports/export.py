"""Everything behind the Evaluation page in one zip, from which anyone can recompute the numbers.

<checkpoint>/predictions-<measured>.csv     test slices with their probabilities
<checkpoint>/figures/<measured>-<what>.svg  confusion, roc, reliability
<checkpoint>/card.json, model-card.md, claim-2024.md
comparison.csv                              one row a checkpoint and protocol
paired-tests-<measured>.csv                 every pair of checkpoints by every figure
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
from kidney_core.metrics.predictions import Predictions
from kidney_core.metrics.splits import EXTERNAL, MEASURED, PROTOCOL_NAMES
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
same scan are in training and test (data leakage). <b>Unseen scans</b> is a scan-level split: an estimate for new patients of the same hospitals. In brackets, 95 % intervals by
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
    """The zip of some checkpoints with what is stored of them, as bytes.

    Raises: CheckpointError when none of them has stored predictions.
    """
    stored: dict[str, dict[str, Predictions]] = {}
    csvs: dict[tuple[str, str], bytes] = {}
    for checkpoint in checkpoints:
        for protocol in MEASURED:
            csv = checkpoint.predictions_csv(protocol) if checkpoint.metrics(protocol) else None
            predictions = checkpoint.predictions(protocol)
            if csv is not None and predictions is not None:
                stored.setdefault(checkpoint.name, {})[protocol] = predictions
                csvs[checkpoint.name, protocol] = csv
    if not stored:
        raise CheckpointError(
            "None of these checkpoints has stored predictions to export. Publish them again from their runs."
        )
    data = {checkpoint.name: checkpoint.card["data"].get("fingerprint", "") for checkpoint in checkpoints}
    return _zip(checkpoints, stored, csvs, data, {})


def export_folder(checkpoints: list[Checkpoint], evaluated: dict[str, Predictions], more: dict[str, bytes]) -> bytes:
    """The zip of checkpoints that were evaluated on one folder, as bytes.

    Args:
        evaluated: checkpoint -> its predictions of that folder.
        more: further files, by name.
    """
    csvs = {(name, EXTERNAL): predictions.csv_bytes() for name, predictions in evaluated.items()}
    # As a stranger reads them: digits that are not stored would break ties otherwise.
    stored = {name: {EXTERNAL: Predictions.read_csv(io.BytesIO(csv))} for (name, _), csv in csvs.items()}
    return _zip([each for each in checkpoints if each.name in stored], stored, csvs, dict.fromkeys(stored, ""), more)


def _zip(
    checkpoints: list[Checkpoint],
    stored: dict[str, dict[str, Predictions]],
    csvs: dict[tuple[str, str], bytes],
    data: dict[str, str],
    more: dict[str, bytes],
) -> bytes:
    """The zip of predictions by checkpoint and by what was measured."""
    files: dict[str, bytes] = dict(more)
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
        "paired_tests": {},
    }
    parts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for checkpoint in checkpoints:
        if checkpoint.name in stored:
            own = {protocol: csv for (name, protocol), csv in csvs.items() if name == checkpoint.name}
            parts.append(_add_checkpoint(checkpoint, stored[checkpoint.name], own, files, manifest, rows))
            manifest["checkpoints"][checkpoint.name]["data"] = data[checkpoint.name]
    for protocol in (*MEASURED, EXTERNAL):
        alike = {name: stored[name][protocol] for name in manifest["checkpoints"] if protocol in stored[name]}
        if len(alike) > 1:
            entry = export_numbers.paired_entry(alike, data)
            manifest["paired_tests"][protocol] = entry
            files[f"paired-tests-{protocol}.csv"] = spreadsheet.to_csv(export_numbers.paired_table(entry))
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
    checkpoint: Checkpoint,
    stored: dict[str, Predictions],
    csvs: dict[str, bytes],
    files: dict[str, bytes],
    manifest: dict[str, Any],
    rows: list[dict],
) -> dict[str, Any]:
    """Put a checkpoint's files and numbers into the zip's content; what the report shows of it."""
    name, measured, shown = checkpoint.name, {}, []
    for protocol, predictions in stored.items():
        file = f"{name}/predictions-{protocol}.csv"
        files[file] = spreadsheet.escape_csv(csvs[protocol])
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
