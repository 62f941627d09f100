"""Training: start fine-tuning jobs, watch them, stop, resume and publish them."""

from dataclasses import fields
from pathlib import Path

import pandas as pd
import streamlit as st

from kidney_core import figures, jobs, recipes, run_lock, runs, ui
from kidney_core.errors import KidneyError, RunError
from kidney_core.paper import ARCHITECTURE_NAMES
from kidney_core.recipes import RECIPE_DESCRIPTIONS, RECIPES, TrainingConfig
from kidney_core.runs import CRASHED, FAILED, FINISHED, QUEUED, RUNNING, STOPPED, Run
from kidney_core.splits import GROUPED, PROTOCOL_TITLES, RANDOM

STARTS = {
    "ImageNet weights (downloaded by timm)": "imagenet",
    "A safetensors file": "file",
    "Random weights": "scratch",
}
BOTH = "both, one after the other"
OPTIONS = {option.name: option for option in fields(TrainingConfig)}

ui.start_page(
    "Training",
    "🏋️",
    "Fine-tune networks on a folder with one folder of images per class. Jobs run on their own: close this page, "
    "restart the app, they go on.",
)


def check_folder(folder: str) -> None:
    """Show what a folder holds, or what was expected of it."""
    from kidney_core import dataset, series

    try:
        found = dataset.read_dataset(folder, progress=ui.progress_bar("Reading images"))
    except KidneyError as error:
        st.error(str(error))
        return
    n_series = int(series.group_series(found).max()) + 1
    counts = ", ".join(f"{count:,} {label}" for label, count in found.counts().items())
    st.success(f"{len(found):,} slices in {n_series:,} series: {counts}.")
    if found.unreadable:
        with st.expander(f"{len(found.unreadable)} files cannot be read and are left out"):
            st.dataframe(pd.DataFrame(found.unreadable, columns=["File", "Reason"]), hide_index=True)


def number(name: str, value, **kwargs):
    """An input for a numeric option, within the limits of the configuration."""
    option = OPTIONS[name]
    low, high = (type(value)(limit) for limit in option.metadata["limits"])
    help_text = option.metadata["help"].capitalize()
    return st.number_input(
        name.removeprefix("n_").replace("_px", " (px)").replace("_", " ").capitalize(),
        low,
        high,
        value,
        help=help_text,
        key=f"training_{name}_{recipe_key()}",
        **kwargs,
    )


def choice(name: str, value: str) -> str:
    option = OPTIONS[name]
    choices = option.metadata["choices"]
    label = name.replace("_", " ").capitalize()
    return st.selectbox(
        label,
        choices,
        choices.index(value),
        help=option.metadata["help"].capitalize(),
        key=f"training_{name}_{recipe_key()}",
    )


def recipe_key() -> str:
    return st.session_state.get("training_recipe", "paper")


def recipe_fields(recipe: str) -> dict:
    """The options of a recipe, which the user may change; another recipe brings its own defaults."""
    base = TrainingConfig(**RECIPES[recipe])
    chosen = {}
    left, middle, right = st.columns(3)
    with left:
        chosen["trainable"] = choice("trainable", base.trainable)
        chosen["augmentation"] = choice("augmentation", base.augmentation)
        chosen["image_size_px"] = number("image_size_px", base.image_size_px, step=32)
        chosen["seed"] = number("seed", base.seed)
    with middle:
        chosen["n_epochs"] = number("n_epochs", base.n_epochs)
        chosen["batch_size"] = number("batch_size", base.batch_size)
        chosen["test_fraction"] = number("test_fraction", base.test_fraction, step=0.05)
        chosen["validation_fraction"] = number("validation_fraction", float(base.validation_fraction), step=0.05)
    with right:
        chosen["optimizer"] = choice("optimizer", base.optimizer)
        chosen["schedule"] = choice("schedule", base.schedule)
        chosen["learning_rate"] = number("learning_rate", base.learning_rate, format="%.5f", step=1e-4)
        chosen["weight_decay"] = number("weight_decay", base.weight_decay, format="%.3f", step=0.01)
    return chosen


def new_jobs() -> None:
    folder = st.text_input(
        "Folder of images",
        "demo-data" if Path("demo-data").is_dir() else "",
        key="training_folder",
        placeholder="demo-data, or the path of the public dataset",
        help="On this machine. One folder per class, for example Cyst, Normal, Stone, Tumor.",
    ).strip()
    if folder and st.button("Check the folder", key="training_check"):
        check_folder(folder)
    names = st.multiselect(
        "Architectures",
        list(ARCHITECTURE_NAMES),
        default=["mobilenetv2_100"],
        format_func=figures.model_name,
        key="training_architectures",
    )
    other = st.text_input(
        "Other timm architectures, separated by commas", key="training_other", placeholder="convnext_atto, resnet34"
    )
    names += [name.strip() for name in other.split(",") if name.strip()]
    left, middle, right = st.columns(3)
    recipe = left.selectbox("Recipe", list(RECIPES), key="training_recipe", help="A named set of defaults")
    protocol = middle.selectbox(
        "Protocol", [BOTH, GROUPED, RANDOM], key="training_protocol", help="Both gives the honest pair of figures"
    )
    start = right.selectbox("Start from", list(STARTS), key="training_start")
    st.caption(RECIPE_DESCRIPTIONS[recipe])
    init = STARTS[start]
    if init == "file":
        init = st.text_input("Safetensors file of timm's weights", key="training_weights").strip()
    with st.expander("Recipe options"):
        options = recipe_fields(recipe)
    if init == "scratch" and options["trainable"] != "all":
        st.info("Random weights need trainable “all”: it will be used.")
        options["trainable"] = "all"
    protocols = (GROUPED, RANDOM) if protocol == BOTH else (protocol,)
    count = len(names) * len(protocols)
    label = f"Start {count} job{'s' if count != 1 else ''}"
    if st.button(label, type="primary", disabled=not count, key="training_submit"):
        submit(folder, names, protocols, recipe, {**options, "init": init})


def submit(folder: str, names: list[str], protocols: tuple[str, ...], recipe: str, options: dict) -> None:
    try:
        from kidney_core import dataset, models

        if not folder:
            raise RunError("Name the folder of images first.")
        if not options["init"]:
            raise RunError("Name the safetensors file to start from, or choose another start.")
        dataset.read_dataset(folder, progress=ui.progress_bar("Reading images"))
        architectures = [models.timm_name(name) for name in names]
        for architecture in architectures:
            for protocol in protocols:
                config = recipes.config_from_recipe(
                    recipe, data=folder, architecture=architecture, protocol=protocol, **options
                )
                jobs.submit(Run.create(config))
    except KidneyError as error:
        st.error(str(error))
        return
    st.toast(f"{len(architectures) * len(protocols)} jobs started")


def job_row(run: Run) -> dict:
    """What the table shows of a run."""
    state, status = run.state(), run_lock.status(run)
    config, report = run.config(), run.report()
    place = jobs.queue_place(run) if status == QUEUED else None
    message = state.get("message", "")
    if place:
        message = f"place {place} in the queue"
    elif status == CRASHED:
        message = "the process died; resume goes on from the last checkpoint"
    return {
        "Run": run.name,
        "State": status,
        "Epoch": f"{state.get('epoch', 0)} / {state.get('n_epochs', config.n_epochs)}",
        "Progress": round(100 * state.get("step", 0) / state["n_steps"]) if state.get("n_steps") else 0,
        "Time left": ui.duration(state.get("seconds_left")) if status == RUNNING else "",
        "Protocol": figures.PROTOCOL_NAMES[config.protocol],
        "Test accuracy": report["figures"]["accuracy"] if report else None,
        "Balanced": report["figures"]["balanced_accuracy"] if report else None,
        "Message": message,
    }


def measurements(run: Run) -> list[dict]:
    """All measurements of a run, of which only the new tail is read."""
    kept = st.session_state.setdefault("training_metrics", {})
    rows, offset = kept.get(run.name, ([], 0))
    path = run.folder / "metrics.jsonl"
    if path.exists() and path.stat().st_size < offset:
        rows, offset = [], 0  # a resumed run dropped what was newer than its checkpoint
    new, offset = run.read_metrics(offset)
    kept[run.name] = (rows + new, offset)
    return kept[run.name][0]


def draw_jobs(busy: bool) -> None:
    """The table and the curves; runs again by itself while something is queued or running."""
    found = runs.list_runs()
    rows = []
    for run in found:
        try:
            rows.append(job_row(run))
        except KidneyError as error:
            st.warning(str(error))
    rates = {name: st.column_config.NumberColumn(format="percent") for name in ("Test accuracy", "Balanced")}
    progress = st.column_config.ProgressColumn(format="%d %%", min_value=0, max_value=100)
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, column_config={**rates, "Progress": progress}, key="training_table"
    )
    if busy and not any(row["State"] in (QUEUED, RUNNING) for row in rows):
        st.rerun()  # the last job ended: draw the page once more, then stop asking
    names = [row["Run"] for row in rows]
    live = [row["Run"] for row in rows if row["State"] == RUNNING]
    drawn = st.multiselect("Runs to draw", names, default=(live or names)[:3], key="training_drawn")
    if not drawn:
        return
    by_name = {run.name: run for run in found}
    curves = {name: measurements(by_name[name]) for name in drawn}
    left, right = st.columns(2)
    for column, quantity in ((left, "loss"), (right, "accuracy")):
        with column:
            st.echarts_chart(figures.curve_options(curves, quantity), height=340, key=f"training_{quantity}")
    st.caption(
        "Solid: validation. Dashed: training. Faint: single steps. Without a validation part, “validation” is the test "
        "part, as in the paper. Scroll inside a chart to zoom."
    )


def act_on_run() -> None:
    """Stop, resume, log and publish of one run."""
    # What is alive comes first: it is what one wants to stop or look into.
    found = sorted(runs.list_runs(), key=lambda run: run_lock.status(run) not in (QUEUED, RUNNING))
    run = st.selectbox("Run", found, format_func=lambda item: item.name, key="training_run")
    status = run_lock.status(run)
    stop, resume, publish = st.columns([1, 1, 3])
    try:
        if stop.button("Stop", disabled=status not in (QUEUED, RUNNING), width="stretch", key="training_stop"):
            jobs.cancel(run)
            st.toast("It will stop after its current step and write a checkpoint.")
        if resume.button(
            "Resume", disabled=status not in (STOPPED, FAILED, CRASHED), width="stretch", key="training_resume"
        ):
            jobs.submit(run)
            st.rerun()
        if status == FINISHED:
            with publish.popover("Publish as a checkpoint"):
                publish_form(run)
    except KidneyError as error:
        st.error(str(error))
    with st.expander("Log and configuration"):
        st.code(run.log_tail(60) or "The log is empty.", language=None)
        st.code((run.folder / "config.json").read_text(), language="json")


def publish_form(run: Run) -> None:
    from kidney_core import publish

    other = publish.counterpart(run)
    if other:
        st.caption(f"With the figures of “{other.name}” for the other protocol.")
    else:
        missing = RANDOM if run.config().protocol == GROUPED else GROUPED
        st.caption(
            f"No finished run of the same recipe has the {PROTOCOL_TITLES[missing]}: its figure will be missing."
        )
    name = st.text_input("Name", run.config().architecture, key="training_publish_name")
    if st.button("Publish", type="primary", key="training_publish"):
        made = publish.publish(run, name=name.strip(), other=other)
        st.success(f"Published as “{made.name}”. It is on the Diagnosis and Evaluation pages now.")


with st.container(border=True):
    st.subheader("New jobs", anchor=False)
    new_jobs()
st.subheader("Jobs", anchor=False)
if runs.list_runs():
    busy = any(run_lock.status(run) in (QUEUED, RUNNING) for run in runs.list_runs()[:50])
    st.fragment(draw_jobs, run_every=2.0 if busy else None)(busy)
    act_on_run()
else:
    st.info("No jobs yet. `make demo-data` writes a simulated dataset to “demo-data” for a first try.")
