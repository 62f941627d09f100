"""The house: imports go down only, pages stay thin, and only the top floor knows Streamlit."""

import ast
from pathlib import Path

from tests.conftest import ROOT

FLOORS = [
    {"errors", "labels", "paper", "allocator", "fonts", "limits", "body"},
    {"shortage", "cache"},
    {"files"},
    {"decoder_pool"},
    {"decoder"},
    {
        "slices",
        "framing",
        "recipes",
        "models",
        "canvas",
        "class_activation",
        "outlines",
        "digests",
        "roots",
        "audit_log",
        "roles",
    },
    {
        "archive",
        "runs",
        "anatomy",
        "optimization",
        "planes",
        "perturbation",
        "raster",
        "dicom_file",
        "dicom_pixels",
        "card",
    },
    {"dicom", "launch", "dataset", "training_state", "calibration"},
    {"series", "splits", "preprocessing", "sampling", "dicom_place", "patient_tags", "run_lock", "parallel"},
    {"checkpoint", "stack", "decoder_server"},
    {"seal", "pixel_cache", "frozen_features", "pictures", "evaluation", "explanation", "phantom"},
    {"cross_validation", "familiarity", "lesions", "map_grades", "phantom_dicom", "extra_data"},
    {"prediction", "spot_training", "diagnosis", "figures", "material", "intervals"},
    {
        "verdict",
        "quiz",
        "pointing",
        "validation",
        "footprint",
        "final_test",
        "publish",
        "onnx_export",
        "audit",
        "comparison",
        "curve_figures",
        "model_card",
        "worth",
    },
    {"print_figures", "stack_verdict", "report", "grading"},
    {"export", "stack_reading", "report_sections"},
    {"report_check", "report_pdf", "report_picture", "breaking"},
    {"training_log", "report_dicom", "teaching_figures"},
    {"training"},
    {"work"},
    {"local_engine", "ray_engine", "slurm_engine", "ray_entry"},
    {"jobs"},
    {"mlflow_mirror", "run_keeping"},
    {"access"},
    {"recording", "uploads"},
    {"ui", "viewer"},
    {
        "matrix_panel",
        "verdict_panel",
        "explanation_panel",
        "upload_panel",
        "report_panel",
        "pointing_panel",
        "quiz_panel",
        "spot_panel",
    },
    {"new_jobs", "job_panel", "model_panel", "comparison_panel", "stack_panel", "breaking_panel"},
    {"serve"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
CORE = sorted((ROOT / "kidney_core").glob("*.py"))


def imports(path: Path, *, top_level_only=False):
    """(dotted module, imported name or None) of every import in a file."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


def test_every_core_file_has_a_floor():
    assert {path.stem for path in CORE} - {"__init__"} == set(FLOOR_OF)


def test_imports_go_down_only():
    for path in CORE:
        for module, name in imports(path):
            parts = module.split(".")
            if parts[0] != "kidney_core":
                continue
            imported = parts[1] if len(parts) > 1 else name
            if imported in FLOOR_OF and path.stem != imported:
                assert FLOOR_OF[imported] < FLOOR_OF[path.stem], f"{path.stem} imports {imported} upward"


def test_only_the_top_floors_import_streamlit():
    for path in CORE:
        if any(module.split(".")[0] == "streamlit" for module, _ in imports(path)):
            assert path.stem in set().union(*FLOORS[-6:])


def test_no_page_imports_torch_at_its_top():
    heavy = {"torch", "timm", "sklearn", "scipy", "pytorch_grad_cam"}
    for path in [ROOT / "streamlit_app.py", *sorted((ROOT / "pages").glob("*.py"))]:
        assert not heavy & {module.split(".")[0] for module, _ in imports(path)}, path.name


def test_nothing_unpickles():
    for path in [*CORE, ROOT / "train.py", *(ROOT / "pages").glob("*.py")]:
        text = path.read_text()
        for forbidden in ("pickle.load", "torch.load", "allow_pickle=True", "joblib.load"):
            assert forbidden not in text, f"{path.name}: {forbidden}"
