"""Remarks on the settings in the form, and the views of its fragments."""

from pathlib import Path
from typing import Any

from app.core.examples import folder_signature, list_examples
from app.core.jobs import read_job
from app.core.workspace import Workspace, WorkspaceError
from app.train import text
from app.train.settings import read_shared
from app.ui.components import make_button, make_future_header, make_press
from app.ui.form import put
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note
from trainer.config import ConfigError, derive_name, layer_config

HEADER = "header"  # the command that prints the header a file would have
# The settings that decide how often each image is used.
EXPOSURE = (
    "train.steps",
    "train.batch_size",
    "train.accumulate",
    "adapter.rank",
    "adapter.alpha",
)


def make_problems(lines: list[str]) -> Markup:
    """Returns what keeps a run from starting."""
    if not lines:
        return Markup("")
    items = [element("li", line) for line in lines]
    inner = join(text.FORM_REFUSED, element("ul", *items))
    return element("div", inner, class_="note note-error", role="alert")


def make_start(start_from: str) -> Markup:
    """Returns from which file a run goes on, and the button to start anew."""
    if not start_from.strip():
        return Markup("")
    line = note(text.starts_from(Path(start_from).name))
    button = make_button(text.START_ANEW, key="anew", element_id="train-start-anew")
    return join(element("div", line, id="train-start-from"), button)


def make_form_lines() -> Markup:
    """Returns the lines about where the form's values come from; the browser shows one of them."""
    buttons = {
        "plain": make_press(text.USE_PRESET, data_form="plain"),
        "undo": make_press(text.UNDO, data_form="undo"),
    }
    lines = [
        element(
            "p", sentence, *[join(" ", buttons[name]) for name in names],
            class_="note note-info", role="status", data_line=line, data_shown="false",
        )
        for line, (sentence, names) in {
            "kept": (join(text.VALUES_STAYED, " ", element("b", "")), ("plain", "undo")),
            "restored": (join(text.VALUES_RESTORED, " ", element("b", "")), ("plain",)),
            "replaced": (text.VALUES_REPLACED, ("undo",)),
        }.items()
    ]  # fmt: skip
    return join(*lines)


def _render_name(_workspace: Workspace, params: Params) -> Markup:
    """Returns what the run and its file are called, where that is not what was typed."""
    typed = params.get("run_name", "")
    name = derive_name(typed, params.get("dataset", ""))
    if name == typed:
        return Markup("")
    return element("p", text.name_derived(name), class_="quiet", role="status")


def _render_dataset(workspace: Workspace, params: Params) -> Markup:
    dataset = params.get("dataset", "")
    count = _count_images(workspace, dataset)
    return note(text.dataset_for_training(dataset, count), "info" if count else "warning")


def _render_exposure(workspace: Workspace, params: Params) -> Markup:
    """Returns how often each image will be seen, from the values that the page shares."""
    tree: dict[str, Any] = {}
    for path, value in read_shared(params.get("exposure"), EXPOSURE).items():
        put(tree, path, value)
    try:
        config = layer_config(settings=tree)
    except ConfigError:
        return Markup("")  # half a number is being typed; Start reports what is wrong
    count = _count_images(workspace, params.get("dataset", ""))
    return note(text.describe_exposure(config, count)) if tree else Markup("")


def _render_start(_workspace: Workspace, params: Params) -> Markup:
    return make_start(params.get("start_from", ""))


def _render_header(workspace: Workspace, params: Params) -> Markup:
    job = read_job(workspace, params.get("job"))
    return make_future_header(job) if job.id.startswith(f"{HEADER}-") else Markup("")


def _count_images(workspace: Workspace, dataset: str) -> int:
    try:
        return len(list_examples(workspace.find_dataset(dataset)))
    except WorkspaceError:
        return 0


def _read_dataset_version(workspace: Workspace, params: Params) -> object:
    """Changes when the dataset's folder does, or another value that the view depends on."""
    try:
        folder = workspace.find_dataset(params.get("dataset", ""))
    except WorkspaceError:
        return dict(params)
    return (dict(params), folder_signature(folder))


VIEWS = {
    "train-dataset": View(_render_dataset, _read_dataset_version),
    "exposure": View(_render_exposure, _read_dataset_version),
    "run-name": View(_render_name),
    "start-from": View(_render_start),
    "header": View(_render_header),
}
