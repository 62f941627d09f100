"""The house: packages import downward only, pages stay thin, and only `app` knows Streamlit."""

import ast
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from tests.conftest import ROOT

CORE = ROOT / "kidney_core"
# Each package may import itself and the packages before it.
PACKAGES = [
    "common",
    "imaging",
    "simulation",
    "metrics",
    "networks",
    "kidneys",
    "data",
    "runs",
    "checkpoints",
    "diagnosis",
]
PACKAGES += ["reports", "training", "engines", "search", "teaching", "app"]
FILES = sorted(CORE.rglob("*.py"))


def imports(path: Path, *, top_level_only: bool = False):
    """The dotted name of every module that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0]


def test_every_package_has_its_place():
    assert {path.parent.name for path in CORE.glob("*/__init__.py")} == set(PACKAGES)
    assert [path.name for path in CORE.glob("*.py")] == ["__init__.py"]


def test_packages_import_downward_only():
    for path in FILES:
        for name in imports(path):
            top, _, below = name.partition(".")
            imported = below.split(".")[0]
            if top == "kidney_core" and imported in PACKAGES:
                here = package_of(path)
                assert PACKAGES.index(imported) <= PACKAGES.index(here), (
                    f"{path.relative_to(ROOT)} imports {name} upward"
                )


def test_no_module_imports_itself_in_a_circle():
    graph = {}
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[module] = set(imports(path))
    modules = set(graph)
    edges = {
        module: {name if name in modules else name.rpartition(".")[0] for name in names} & modules - {module}
        for module, names in graph.items()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {[f'{one} -> {two}' for one, two in pairwise((*path, module))]}"
        if module not in done:
            for imported in edges[module]:
                visit(imported, (*path, module))
            done.add(module)

    for module in sorted(edges):
        visit(module, ())


def test_only_the_app_imports_streamlit():
    for path in FILES:
        if any(name.split(".")[0] == "streamlit" for name in imports(path)):
            assert package_of(path) == "app", path.name


def test_the_app_reaches_timm_through_networks_alone():
    """Its threads would deadlock in torchvision's circular imports: see `kidney_core.networks`."""
    circular = {"timm", "torchvision", "pytorch_grad_cam"}
    assert "timm" in set(imports(CORE / "networks" / "__init__.py"))
    for path in FILES:
        if circular & {name.split(".")[0] for name in imports(path)}:
            assert package_of(path) in {"networks", "kidneys", "training", "runs"}, (
                path.name
            )  # the last two run in jobs


def test_no_page_imports_torch_at_its_top():
    heavy = {"torch", "timm", "sklearn", "scipy", "pytorch_grad_cam"}
    for path in [ROOT / "streamlit_app.py", *sorted((ROOT / "pages").glob("*.py"))]:
        assert not heavy & {name.split(".")[0] for name in imports(path)}, path.name


def test_one_file_knows_how_columns_of_probabilities_are_named():
    for path in [*FILES, *(ROOT / "pages").glob("*.py")]:
        if path.name != "predictions.py":
            assert '"p_' not in path.read_text(encoding="utf-8"), path.name


def test_report_checking_imports_no_network_and_no_plotting():
    """A stranger checks a report on any machine, in seconds."""
    heavy = ["torch", "timm", "plotly", "matplotlib", "streamlit"]
    code = f"import sys, kidney_core.reports.report_check; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_nothing_unpickles():
    """But for one file in a child process, and that only what holds no objects."""
    for path in [*FILES, ROOT / "train.py", *(ROOT / "pages").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if path == CORE / "common" / "pytorch_reader.py":
            assert (
                text.count("torch.load(") == text.count('torch.load(file, map_location="cpu", weights_only=True)') == 1
            )
            text = text.replace("torch.load(", "")
        for forbidden in ("pickle.load", "torch.load", "allow_pickle=True", "joblib.load"):
            assert forbidden not in text, f"{path.name}: {forbidden}"


def test_text_files_are_utf_8():
    """Ruff's PLW1514 sees only the calls on what it knows to be a path."""
    for path in [*FILES, ROOT / "train.py", *(ROOT / "pages").glob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("read_text", "write_text"):
                assert "encoding" in [option.arg for option in call.keywords], f"{path.name}:{call.lineno}"
