"""Point 8, typed paths and job fields: nothing leads out of the roots, nothing is read by a shell."""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from kidney_core.common import allowed_paths
from kidney_core.common.errors import PathError
from kidney_core.common.files import write_json
from kidney_core.engines import jobs
from kidney_core.runs import recipes
from kidney_core.runs.run_folder import QUEUED, RUNNING, Run
from tests.conftest import ROOT
from tests.hardness.table import Figures, Options

SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "busybox"}


def measure_paths(options: Options) -> Figures:
    """Type every way out that is known here; an escape is one that is let through to something outside.

    What is let in otherwise names something inside that is not there.
    """
    workplace = options.workplace
    root, outside = workplace / "root", workplace / "outside"
    (root / "inner" / "Cyst").mkdir(parents=True)
    (root / "linked" / "Cyst").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    (workplace / "root-beside").mkdir()
    (root / "out").symlink_to(outside)
    (root / "up").symlink_to("..")
    (root / "circle").symlink_to(root / "circle")
    (root / "linked" / "Cyst" / "x.png").symlink_to(outside / "secret.png")
    (root / "nested").mkdir()
    (root / "nested" / "deep").symlink_to(root / "linked")
    ways = [
        *("..", "../outside", f"{root}/..", f"{root}/../outside/secret.png", f"{root}/inner/../../outside"),
        *(f"{root}/inner/Cyst/../../../outside", f"{root}/./../outside/.", f"{root}/%2e%2e/../../outside"),
        *("/", "/etc", "/etc/passwd", "/proc/self/root/etc", "/proc/self/cwd", "/dev/stdin", "/dev/zero", str(outside)),
        *(
            "~",
            "~root",
            "~root/.ssh",
            "$HOME",
            "file:///etc/passwd",
            "http://192.0.2.1/x",
            str(workplace / "root-beside"),
        ),
        *(str(root / "out"), str(root / "out" / "secret.png"), str(root / "up"), str(root / "up" / "outside")),
        *(str(root / "circle"), str(root / "linked"), str(root / "linked/Cyst/x.png"), str(root / "nested"), str(root)),
        *("\0", f"{root}\0/../../etc", f"{root}/inner\0", "\\\\server\\share", "\\\\?\\C:\\", "//server/share"),
        *(
            "C:\\Windows",
            "..\\..\\etc",
            f"{root}/" + "../" * 60 + "etc/passwd",
            f"{root}/" + "a" * 5000,
            "\ud800",
            "﹒﹒/outside",
        ),
        *(
            f"/tmp/../{str(outside).lstrip('/')}",
            f"{str(root).upper()}",
            f"{root}//..//outside",
            f" {outside}",
            f"{root}/inner/..;/..",
        ),
    ]
    allowed = (root.resolve(),)
    figures = {"typed": 0, "escapes": 0, "refused": 0}
    for typed in ways:
        figures["typed"] += 1
        try:
            found = allowed_paths.resolve_allowed(typed, allowed)
        except PathError:
            figures["refused"] += 1
            continue
        reachable = [found, *found.rglob("*")] if found.exists() else [found]
        figures["escapes"] += not all(path.resolve().is_relative_to(allowed[0]) for path in reachable)
    for relative in (
        "../outside/secret.png",
        "/etc/passwd",
        "a/../../x",
        "..\\x",
        "a\0b",
        "..",
    ):  # from a checkpoint's tables
        figures["typed"] += 1
        try:
            allowed_paths.file_below(root, relative)
            figures["escapes"] += 1
        except PathError:
            figures["refused"] += 1
    figures["let_in"] = figures["typed"] - figures["refused"]
    figures["false_refusals"] = int(
        allowed_paths.resolve_allowed(str(root / "inner"), allowed) != (root / "inner").resolve()
    )
    return figures


def hostile_words(marker: Path) -> list[str]:
    """What a shell would take for a command that writes the marker."""
    touch = f"touch {marker}"
    return [
        f"$({touch})",
        f"`{touch}`",
        f"; {touch};",
        f"| {touch}",
        f"&& {touch}",
        f"\n{touch}\n",
        f"'; {touch}; '",
        f'"; {touch}; "',
    ]


def hostile_configs(marker: Path) -> list[recipes.TrainingConfig]:
    """Configurations whose text fields are commands; as a file that a user starts they come unchecked by any form."""
    base = recipes.config_from_recipe("paper", data="x", architecture="test_resnet", init="scratch", trainable="all")
    words = hostile_words(marker)
    return [replace(base, data=one, extra_data=other) for one, other in zip(words[::2], words[1::2], strict=True)]


def measure_jobs(options: Options) -> Figures:
    """Submit hostile jobs to each engine in folders with hostile names; count shells and what they did.

    The processes of the local engine are watched from inside: each Python that starts notes what it starts. Slurm's
    batch script and Ray's entry point are words for a shell by those systems' own design; they are run here by a real
    shell, with programs in place of srun and Python that note their arguments.
    """
    workplace = options.workplace
    marker, spawned = workplace / "pwned", workplace / "spawned.jsonl"
    folder = workplace / f"runs $(touch {marker.name}) ; touch pwned '\""
    watcher = workplace / "watcher"
    watcher.mkdir()
    (watcher / "sitecustomize.py").write_text(_WATCHER, encoding="utf-8")
    kept = dict(os.environ)
    figures = {"jobs": 0, "processes": 0, "shell_spawns": 0, "executed": 0, "wrong_arguments": 0}
    os.environ |= {"PYTHONPATH": str(watcher), "WATCHED": str(spawned), "KIDNEY_RUNS": str(folder)}
    try:
        # One job that holds every word: each costs a start of torch.
        every = " ".join(hostile_words(marker))
        run = Run.create(replace(hostile_configs(marker)[0], data=every, extra_data=every), folder=folder)
        jobs.submit(run, "local")
        figures["jobs"] += 1
        _wait(run)
        started = (
            [json.loads(line) for line in spawned.read_text(encoding="utf-8").splitlines()] if spawned.exists() else []
        )
        figures["processes"] = len(started)
        figures["shell_spawns"] = sum(Path(command[0]).name in SHELLS for command in started)
        for submit in (_slurm_words, _ray_words):
            for config in hostile_configs(marker):
                run = Run.create(config, folder=folder)
                words = submit(run, workplace)
                figures["jobs"] += 1
                figures["wrong_arguments"] += str(run.folder.resolve()) not in words
                figures["wrong_arguments"] += any(
                    field in word for word in words for field in (config.data, config.extra_data)
                )
    finally:
        os.environ.clear()
        os.environ.update(kept)
    figures["executed"] = len(list(workplace.rglob("pwned"))) + Path("pwned").exists() + (ROOT / "pwned").exists()
    return figures


_WATCHER = """
import json, os, sys
def watch(event, arguments):
    command = None
    if event == "subprocess.Popen":
        command = [os.fsdecode(arguments[0])] + [os.fsdecode(word) for word in arguments[1]]
    elif event == "os.system":
        command = ["sh", os.fsdecode(arguments[0])]
    elif event in ("os.exec", "os.posix_spawn"):
        command = [os.fsdecode(arguments[0])] + [os.fsdecode(word) for word in arguments[1]]
    if command is not None:
        with open(os.environ["WATCHED"], "a") as file:
            file.write(json.dumps(command) + chr(10))
sys.addaudithook(watch)
open(os.environ["WATCHED"], "a").write(json.dumps([sys.executable, "started"]) + chr(10))
"""


def _wait(run: Run) -> None:
    until = time.monotonic() + 240
    while jobs.status(run) in (QUEUED, RUNNING):
        if time.monotonic() > until:
            raise TimeoutError(f"{run.name} is {jobs.status(run)}")
        time.sleep(0.2)


# A program that notes its arguments, one a line of JSON, beside itself.
_NOTES = """#!{python}
import json, pathlib, sys
with pathlib.Path({notes!r}).open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
if {prints!r}:
    pathlib.Path({notes!r} + ".stdin").write_text(sys.stdin.read())
    print({prints!r})
"""


@contextmanager
def _programs(workplace: Path, **prints: str) -> Iterator[Path]:
    """A folder of noting programs at the front of $PATH; the file of their notes."""
    folder = workplace / "programs"
    folder.mkdir(exist_ok=True)
    notes = folder / "notes.jsonl"
    notes.unlink(missing_ok=True)
    for name, printed in prints.items():
        program = folder / name
        program.write_text(_NOTES.format(python=sys.executable, notes=str(notes), prints=printed), encoding="utf-8")
        program.chmod(0o700)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}{os.pathsep}{path}"
    try:
        yield notes
    finally:
        os.environ["PATH"] = path


def _words(notes: Path) -> list[str]:
    return [word for line in notes.read_text(encoding="utf-8").splitlines() for word in json.loads(line)]


def _slurm_words(run: Run, workplace: Path) -> list[str]:
    """All arguments that sbatch, and then srun and Python by way of the batch script, are given."""
    with _programs(workplace, sbatch="4711", srun="", python_of_slurm="") as notes:
        jobs.ENGINES["slurm"].submit(run, lock=-1)
        script = notes.with_name(notes.name + ".stdin").read_text(encoding="utf-8")
        # "exec PYTHON -m kidney_core.engines.slurm_engine RUN" would train; a noting program takes the interpreter's place.
        script = script.replace(shlex.quote(sys.executable), shlex.quote(str(notes.parent / "python_of_slurm")))
        environment = {**os.environ, "SLURM_JOB_ID": "4711"}
        subprocess.run(["/bin/sh"], input=script, text=True, check=True, cwd=workplace, env=environment)
        return _words(notes)


def _ray_words(run: Run, workplace: Path) -> list[str]:
    """All arguments that the entry point of a Ray job gives to Python."""
    taken: list[dict] = []

    class Dashboard(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Dashboard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["KIDNEY_RAY_ADDRESS"] = f"http://127.0.0.1:{server.server_port}"
    try:
        with _programs(workplace, python_of_ray="") as notes:
            os.environ["KIDNEY_RAY_PYTHON"] = str(notes.parent / "python_of_ray")
            jobs.ENGINES["ray"].submit(run, lock=-1)
            subprocess.run(["/bin/sh", "-c", taken[0]["entrypoint"]], check=True, cwd=workplace)
            return _words(notes)
    finally:
        server.shutdown()
        server.server_close()


def write_hostile_file(folder: Path, path: str) -> bytes:
    """A saved configuration whose folders are elsewhere, as a user may upload it."""
    config = recipes.config_from_recipe("paper", data=path, architecture="test_resnet", init=path)
    write_json(folder / "hostile.json", asdict(config))
    return (folder / "hostile.json").read_bytes()
