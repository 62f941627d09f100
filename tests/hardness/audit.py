"""Point 11, audit log: whatever is done to its lines is found, across restarts and several processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from kidney_core.app import audit_log
from kidney_core.common.errors import AuditError
from tests.conftest import ROOT
from tests.hardness.table import Figures, Options

SEED, N_TAMPERED = 11, 200
_WRITER = """
import sys
from pathlib import Path
from kidney_core.app import audit_log
for i in range(int(sys.argv[2])):
    audit_log.append(Path(sys.argv[1]), kind="diagnosis", user=sys.argv[3], input_sha256="a" * 64, model_sha256="b" * 64, result_sha256="c" * 64)
"""


def measure(options: Options) -> Figures:
    """Write with three processes at once, twice, then tamper often and count what `verify` and `append` overlook."""
    workplace = options.workplace
    log = workplace / "audit.jsonl"
    for _ in range(2):  # the second round is an app that was started anew
        writers = [start_writer(log, 20, f"user{i}@hospital.example") for i in range(3)]
        for writer in writers:
            if writer.wait(timeout=120):
                raise RuntimeError(f"a writer ended with {writer.returncode}")
    count, last = audit_log.verify(log)
    rng = np.random.default_rng(SEED)
    figures = {"lines": count, "tampered": 0, "undetected": 0, "appended_after_cut": 0}
    for i in range(N_TAMPERED):
        harmed = workplace / "harmed.jsonl"
        shutil.copy(f"{log}.head", f"{harmed}.head")
        lines = log.read_bytes().splitlines(keepends=True)
        kind = i % 6
        harmed.write_bytes(b"".join(_tamper(lines, kind, rng)))
        figures["tampered"] += 1
        try:
            audit_log.verify(harmed)
            figures["undetected"] += 1
        except AuditError:
            pass
        if kind == 3:  # cut: the next line must not hide it
            try:
                write_one(harmed)
                figures["appended_after_cut"] += 1
            except AuditError:
                pass
    # Who makes up the whole past, head included, is found by a hash kept elsewhere.
    forged = workplace / "forged.jsonl"
    for _ in range(count):
        write_one(forged)
    figures["tampered"] += 1
    try:
        audit_log.verify(forged, expected=last)
        figures["undetected"] += 1
    except AuditError:
        pass
    return figures


def start_writer(log: Path, n_lines: int, user: str) -> subprocess.Popen:
    """A process of its own that appends lines."""
    command = [sys.executable, "-c", _WRITER, str(log), str(n_lines), user]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def write_one(log: Path) -> None:
    hashes = {f"{name}_sha256": name[0] * 64 for name in ("input", "model", "result")}
    audit_log.append(log, kind=audit_log.DIAGNOSIS, user="forger", **hashes)


def _tamper(lines: list[bytes], kind: int, rng: np.random.Generator) -> list[bytes]:
    position, other = rng.choice(len(lines), 2, replace=False)
    if kind == 0:  # edit: another user, or one flipped bit
        edited = bytearray(lines[position])
        edited[rng.integers(len(edited) - 1)] ^= 1 << rng.integers(7)
        lines[position] = bytes(edited) if rng.integers(2) else lines[position].replace(b"user", b"User")
    elif kind == 1:
        del lines[position]
    elif kind == 2:
        lines[position], lines[other] = lines[other], lines[position]
    elif kind == 3:
        del lines[min(position, len(lines) - 1) :]
    elif kind == 4:
        lines.insert(position, lines[other])
    else:  # cut within a line
        whole = b"".join(lines)
        return [whole[: rng.integers(len(whole) - 1)]]
    return lines
