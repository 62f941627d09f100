"""Point 1: whatever is in a file, it becomes a slice or a sentence, and who asked lives on.

The files are read by a process of its own, so that its death and its hanging are seen from outside:

    python -m tests.hardness.damage FIRST_CASE N_VARIANTS [FOLDER…]
"""

import json
import os
import re
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from kidney_core.common.errors import KidneyError
from kidney_core.imaging import archive, decoder, dicom, dicom_geometry, patient_tags, slices, stack
from tests.conftest import ROOT
from tests.hardness import files
from tests.hardness.table import Figures, Options

N_VARIANTS, N_VARIANTS_THOROUGH = 3_000, 10_000
_HANGS_S = 200.0  # of silence: two questions are asked about a file, and each has 60 s where no processor is free
_MAX_SEED_BYTES = 400_000  # of a file that variants are made of


def measure(options: Options) -> Figures:
    """Read every file and variant; how many got past the sentences."""
    n_variants = N_VARIANTS_THOROUGH if options.thorough else N_VARIANTS
    counted: Counter[str] = Counter()
    first, odd, ended = 0, "", ""
    while ended != "finished":
        for case, outcome, kind in _run(first, n_variants, options.folders):
            if outcome == "end":
                ended = kind
                counted["hangs"] += kind == "hangs"
                counted["parent_deaths"] += kind == "died"
                first += 1  # the case after the last answer is the one that ended it
            else:
                first = case + 1
                counted[outcome] += 1
                odd = odd or (kind if outcome == "uncaught" else "")
    figures: Figures = {name: counted[name] for name in ("uncaught", "parent_deaths", "hangs")}
    total = sum(counted[name] for name in ("read", "refused", "crashed", "slow", "uncaught"))
    figures |= {"files": total, "decoder_crashes": counted["crashed"], "decoder_timeouts": counted["slow"]}
    figures |= {"read": counted["read"], "refused": counted["refused"]}
    return figures | ({"first_uncaught": odd} if odd else {})


def measure_speed(_options: Options) -> Figures:
    """What the child adds to a slice of 512 × 512: the fastest of many, since a busy machine only ever adds to it."""
    stored = np.random.default_rng(0).integers(0, 4096, (512, 512), dtype=np.uint16)
    content = files.ct(stored)
    apart = min(_seconds(lambda: slices.read_slice(content)) for _ in range(100))
    here = min(_seconds(lambda: dicom.decode(content, name="a")) for _ in range(100))
    return {"extra_ms": 1000 * (apart - here), "ms": 1000 * apart}


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _run(first: int, n_variants: int, folders: tuple[Path, ...]) -> Iterator[tuple[int, str, str]]:
    """(case, outcome, kind of error) as the reading process tells them, and last what ended it."""
    command = [sys.executable, "-m", "tests.hardness.damage", str(first), str(n_variants), *map(str, folders)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        while True:
            if not select.select([process.stdout], [], [], _HANGS_S)[0]:
                process.kill()
                yield first, "end", "hangs"
                return
            line = process.stdout.readline()
            if not line:
                break
            told = json.loads(line)
            yield told["case"], told["outcome"], told["kind"]
            if told["outcome"] == "end":
                return
    yield first, "end", "died"


def cases(n_variants: int, folders: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    """Every file as it is, variants of those that are small, and every file of the folders."""
    made = list(files.sound().items())
    yield from made
    found = []
    for path in files.bundled():
        content = path.read_bytes()
        yield path.name, content
        if 0 < len(content) <= _MAX_SEED_BYTES:
            found.append((path.name, _as_ct(content)))
    for number in range(n_variants):
        seeds = (made, found)[number % 2]
        name, content = seeds[number // 2 % len(seeds)]
        yield f"variant {number} of {name}", variant(content, number)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path.name, path.read_bytes()


def _as_ct(content: bytes) -> bytes:
    """A DICOM file that says it is CT, so that its variants come as far as a decoder."""
    return re.sub(rb"(\x08\x00\x60\x00(?:CS)?\x02\x00(?:\x00\x00)?)[A-Z]{2}", rb"\1CT", content)


def variant(content: bytes, seed: int) -> bytes:
    """The file with some bytes changed: anywhere, in its first thousand, or in one run; one in eight also cut."""
    rng = np.random.default_rng(seed)
    changed = bytearray(content)
    reach = min(len(changed), 1000) if rng.random() < 0.4 else len(changed)
    if rng.random() < 0.2:
        start = int(rng.integers(reach))
        positions = np.arange(start, min(start + int(rng.integers(2, 40)), len(changed)))
    else:
        positions = rng.integers(reach, size=int(rng.integers(1, 9)))
    for position in positions:
        changed[position] = rng.choice(
            [0, 255, int(rng.integers(256)), changed[position] ^ (1 << int(rng.integers(8)))]
        )
    return bytes(changed[: int(rng.integers(1, len(changed) + 1))] if rng.random() < 0.125 else changed)


def read(name: str, content: bytes) -> tuple[str, str]:
    """What comes of a file: "read", "refused", "crashed", "slow" (both told in a sentence) or "uncaught"."""
    try:
        if archive.is_zip(content):
            stack.open_stacks([(name, content)])
            return "read", ""
        image = slices.read_slice(content, name=name)
        image.network_grey8()
        if slices.is_dicom(content):
            dicom_geometry.read_positions(content, name=name)
            patient_tags.read_patient_tags(content)
        return "read", ""
    except KidneyError as error:
        if isinstance(error.__cause__, TimeoutError):
            return "slow", type(error).__name__
        return "crashed" if "crashes its decoder" in str(error) else "refused", type(error).__name__
    except BaseException as error:  # noqa: BLE001 - this is what is counted
        return "uncaught", type(error).__name__


def main() -> None:
    first, n_variants, folders = int(sys.argv[1]), int(sys.argv[2]), tuple(map(Path, sys.argv[3:]))
    for case, (name, content) in enumerate(cases(n_variants, folders)):
        if case >= first:
            outcome, kind = read(name, content)
            print(json.dumps({"case": case, "outcome": outcome, "kind": kind}), flush=True)
    decoder.stop()
    print(json.dumps({"case": case, "outcome": "end", "kind": "finished"}), flush=True)


if __name__ == "__main__":
    main()
