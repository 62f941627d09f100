"""README and docs name only what exists: files, commands, options, settings, links; and every setting is in the table."""

import ast
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import classification_report

from benchmarks import paper_recipe, results_table
from kidney_core.app.command_line import COMMANDS
from kidney_core.common import paper, settings
from kidney_core.metrics.splits import GROUPED, RANDOM
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # a changelog names what was there at its time
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"\b(?:kidney_core|pages|tests|benchmarks|docs|checkpoints)/[\w./-]*\w\.(?:py|js|css|md|json)\b")
_MODULE = re.compile(r"(?:python -m |::: )((?:kidney_core|benchmarks|tests)(?:\.\w+)+)")
_NAME_IN_FILE = re.compile(r"`(\w+)`[^`|\n]* (?:in|of) `([\w/]+\.py)`")
_COMMAND = re.compile(r"kidney-ct(?: |\x60 \x60)([a-z][a-z-]+)")
_VARIABLE = re.compile(r"\bKIDNEY_[A-Z_]*[A-Z]\b")
_TARGET = re.compile(r"\bmake ([a-z][a-z-]+)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code_of(text: str) -> str:
    """What stands in backquotes or fenced blocks."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.S))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S), flags=re.M
    )
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower())
        for heading in headings
    }


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 700


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page):
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), f"{name(page)} links to {link}"
        if anchor:
            assert anchor in anchors(path), f"{name(page)} links to {link}"
        if page.is_relative_to(DOCS):
            assert path.is_relative_to(DOCS), f"{name(page)} links out of the site: {link}"


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_paths_and_modules_exist(page):
    text = _LINK.sub("", page.read_text(encoding="utf-8"))  # links have a test of their own
    for path in _PATH.findall(text):
        assert (ROOT / path).is_file(), f"{name(page)} names {path}"
    for defined, path in _NAME_IN_FILE.findall(text):
        assert re.search(
            rf"^(def|class) {defined}\b|^{defined}\b.* = ", (ROOT / path).read_text(encoding="utf-8"), re.M
        ), f"{path} has no {defined}"
    for dotted in _MODULE.findall(text):
        parts, inside = dotted.split("."), ""
        path = ROOT.joinpath(*parts)
        while not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file() and not inside:
            *parts, inside = parts
            path = ROOT.joinpath(*parts)
        file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__main__.py"
        assert file.is_file(), f"{name(page)} names {dotted}"
        if inside:
            defined = {node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if hasattr(node, "name")}
            assert inside in defined, f"{name(page)} names {dotted}"


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_commands_and_make_targets_exist(page):
    text = page.read_text(encoding="utf-8")
    for command in _COMMAND.findall(code_of(text)):
        assert command in COMMANDS, f"{name(page)} names kidney-ct {command}"
    targets = set(re.findall(r"^([a-z][a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    for target in _TARGET.findall(code_of(text)):
        assert target in targets, f"{name(page)} names make {target}"


def test_every_command_is_on_the_command_line_page():
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"`kidney-ct {command}`" in text
    assert results_table.options_table() in text


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_options_of_a_training_exist(page):
    from kidney_core.engines.train_command import parse_arguments

    for line in re.findall(r"kidney-ct train ([^`\n#]+)", page.read_text(encoding="utf-8")):
        arguments = line.split()
        parse_arguments([word for word in arguments if word not in ("…", "N")])


def test_every_environment_variable_is_in_the_settings_page():
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert results_table.settings_table() in text
    sources = [*(ROOT / "kidney_core").rglob("*.py"), *(ROOT / "pages").glob("*.py")]
    sources += [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / "train.py"]
    used = {variable for path in sources for variable in _VARIABLE.findall(path.read_text(encoding="utf-8"))}
    assert used <= set(_VARIABLE.findall(text)), "in the code, not in docs/settings.md"
    for page in CURRENT:
        assert set(_VARIABLE.findall(page.read_text(encoding="utf-8"))) <= used, (
            f"{name(page)} names a variable that nothing reads"
        )
    assert {setting.name for setting in settings.SETTINGS} <= used


def test_views_named_by_the_docs_are_on_the_pages():
    shown = "\n".join(
        path.read_text(encoding="utf-8")
        for path in [*(ROOT / "pages").glob("*.py"), *(ROOT / "kidney_core/app").glob("*.py")]
    )
    for page in CURRENT:
        for trail in re.findall(
            r"(?:Diagnosis|Evaluation|Training|Dataset|Teaching)(?: → [A-Z][a-z]+(?: [a-z]+)*)+",
            page.read_text(encoding="utf-8"),
        ):
            for part in trail.split(" → "):
                assert f'"{part}"' in shown, f"{name(page)} names {trail}"


def test_every_page_is_in_the_navigation_once():
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.M)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_the_glossary_has_each_term_once_and_in_order():
    terms = re.findall(r"^\*\*([^*]+)\.\*\*", (DOCS / "glossary.md").read_text(encoding="utf-8"), flags=re.M)
    assert len(terms) > 30
    assert terms == sorted(set(terms), key=str.casefold)


def test_the_example_of_the_api_page_prints_what_it_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    (code,), (printed,) = (re.findall(rf"```{kind}\n(.*?)```", text, flags=re.S) for kind in ("python", "text"))
    output = io.StringIO()
    with redirect_stdout(output):
        exec(code, {})
    assert output.getvalue() == printed


def test_the_figures_of_the_kidney_finder_are_those_of_its_card():
    assert results_table.finder_table() in (DOCS / "kidney-finder.md").read_text(encoding="utf-8")


def test_the_table_of_the_papers_recipe_is_what_scikit_learn_computes_from_the_predictions():
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    assert paper_recipe.table() in text
    runs = {(run["architecture"], run["protocol"]) for run in paper_recipe.kept_runs()}
    assert runs == {(architecture, protocol) for architecture in paper.TABLE_1 for protocol in (RANDOM, GROUPED)}
    for run in runs:
        stored = pd.read_csv(paper_recipe.predictions_file(*run))
        report = classification_report(stored["label"], stored["predicted"], output_dict=True, zero_division=0)
        columns = ("Cyst", "Normal", "Stone", "Tumor", "macro avg", "weighted avg")
        cells = [tuple(report[column][name] for name in ("precision", "recall", "f1-score")) for column in columns]
        shown = " | ".join([*(paper.format_cell(cell) for cell in cells), f"{100 * report['accuracy']:.1f} %"])
        assert f"| {shown} " in text, run
