"""The settings of the form: to one complete config, and from a preset or a file of the Library.

What fills the form is asked for by the browser, which decides, when the values arrive, which boxes
take them (`ui/js/train.js`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.base_models import name_model_job, save_answer
from app.core.examples import folder_signature, read_trigger
from app.core.jobs import Job, name_job, send_job
from app.core.lora_files import AdapterEntry, find_adapter, read_settings
from app.core.run_contents import OPENED, read_run_config
from app.core.workspace import Workspace, WorkspaceError
from app.train import text
from app.train.preset_rows import describe_preset, describe_rows
from app.ui.form import make_form, put
from app.ui.fragments import Params, View
from app.ui.markup import note
from datasets_tools.groups import read_folder_line
from trainer.config import ConfigError, RunConfig, config_to_toml, derive_name, layer_config

# The form, without what is asked for elsewhere on the page or comes from the dataset.
FORM = make_form(without=("base_model.path", "dataset.path", "dataset.trigger"))
NAME, START_FROM = "name", "adapter.start_from"
CONFIG_FILE = "config.toml"  # the settings that a command is asked about
# Settings of the form that hold paths.
PATHS = ("base_model.vae", "dataset.folders", "dataset.prior_path", START_FROM)
# What belongs to the run, the base model or the file that is continued, whatever the preset.
NOT_BY_PRESET = {
    NAME,
    "base_model.family",
    "base_model.prediction",
    "base_model.zero_snr",
    "base_model.flow_shift",
    "base_model.vae",
    "dataset.folders",
    START_FROM,
}


@dataclass(frozen=True)
class Chosen:
    """What the Train tab shows: the dataset, the base model, and the form's values by path."""

    dataset: object
    base_model: object
    values: Mapping[str, Any]


def read_config_of_form(
    workspace: Workspace, chosen: Chosen, *, needs_images: bool = True
) -> RunConfig:
    """Returns the config that the Train tab shows.

    Args:
        workspace: Where datasets and base models lie.
        chosen: What is shown.
        needs_images: Whether a dataset must have been chosen.

    Raises:
        WorkspaceError: the dataset or the base model is gone.
        ConfigError: all that is wrong with the settings.
    """
    tree = FORM.to_tree(chosen.values)
    put(tree, NAME, derive_name(str(tree.get(NAME, "")), str(chosen.dataset or "")))
    put(tree, "base_model.path", str(workspace.find_base_model(chosen.base_model)))
    if chosen.dataset or needs_images:
        folder = workspace.find_dataset(chosen.dataset).resolve()
        put(tree, "dataset.path", str(folder))
        put(tree, "dataset.trigger", read_trigger(folder))
    config = layer_config(settings=tree)
    _refuse_far_paths(workspace, config)
    return config


def _refuse_far_paths(workspace: Workspace, config: RunConfig) -> None:
    """A browser on another computer may only name what lies in the workspace."""
    root = workspace.root.resolve()
    for name in PATHS:
        section, _, setting = name.partition(".")
        for path in _list_paths(getattr(getattr(config, section), setting)):
            if not workspace.takes_paths and not path.resolve().is_relative_to(root):
                raise WorkspaceError(text.far_path(name))
    if not workspace.takes_paths and config.output.webhook:
        raise WorkspaceError(text.FAR_WEBHOOK)


def _list_paths(value: str | list[str]) -> list[Path]:
    if isinstance(value, list):
        return [read_folder_line(line)[0] for line in value]
    return [Path(value)] if value else []


def ask_about_settings(workspace: Workspace, word: str, config: RunConfig) -> Job:
    """Sends one of the commands that read a config and print JSON: `estimate` or `header`.

    Raises:
        WorkspaceError: the command cannot be started.
    """
    toml, dataset = config_to_toml(config), Path(config.dataset.path)
    looked_at = [folder_signature(dataset), name_model_job(Path(config.base_model.path))]
    job_id = name_job(word, toml, *looked_at)
    place = workspace.jobs_path / job_id / CONFIG_FILE

    def write_config(folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(toml, encoding="utf-8")

    arguments = [word, "--config", str(place), "--json", f"--workspace={workspace.root}"]
    return send_job(workspace, job_id, arguments, write_config)


def read_shared(shared: str | None, paths: Iterable[str]) -> dict[str, Any]:
    """Returns the values that the page shares with a fragment, by path.

    They come from a browser: what cannot be read is left out, and before the page has shared any
    there are none.
    """
    try:
        values = json.loads(shared or "")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {path: values[path] for path in paths if path in values}


@dataclass(frozen=True)
class Opened:
    """What the Train tab takes over.

    Attributes:
        message: The sentence about it.
        config: The settings; None leaves those that are shown.
        start_from: The file to go on from; "" starts anew.
        dataset: The dataset's name in the list; "" leaves the chosen one.
        base_model: The base model's name in the list; "" leaves the chosen one.
    """

    message: str
    config: RunConfig | None
    start_from: str = ""
    dataset: str = ""
    base_model: str = ""


def open_file(workspace: Workspace, kind: object, file_id: object) -> Opened:
    """Returns what the Train tab shows when a file is opened: "settings" or "continue".

    Raises:
        WorkspaceError: the file is gone, or holds no settings that could be opened.
    """
    if not file_id:
        raise WorkspaceError(text.NO_FILE)
    entry = find_adapter(workspace, file_id)
    name, start = entry.path.name, str(entry.path.resolve()) if kind == "continue" else ""
    config = _read_settings(workspace, entry)
    if config is None and not start:
        raise WorkspaceError(text.no_settings(name))
    if config is None:
        return Opened(text.only_start(name), None, start)
    base = _find_name(workspace.list_base_models(), config.base_model.path)
    datasets = {each: workspace.datasets_path / each for each in workspace.list_datasets()}
    message = [text.settings_opened(name)]
    if not base:
        message.append(text.unknown_base(Path(config.base_model.path).name))
    return Opened(
        " ".join(part for part in message if part),
        config,
        start,
        _find_name(datasets, config.dataset.path),
        base,
    )


def save_prediction(workspace: Workspace, opened: Opened) -> None:
    """Saves the prediction type in the settings as the answer for their base model.

    Raises:
        WorkspaceError: the answer cannot be saved.
    """
    prediction = opened.config.base_model.prediction if opened.config else "auto"
    if opened.base_model and prediction != "auto":
        save_answer(workspace, opened.base_model, prediction)


def fill_from_preset(preset: str) -> dict[str, Any]:
    """Returns a preset's note, its rows, and its values but for those that it cannot know."""
    try:
        values = FORM.to_values(layer_config(preset=preset))
    except ConfigError as error:
        return {"note": note(str(error), "error")}
    known = {path: value for path, value in values.items() if path not in NOT_BY_PRESET}
    return {"note": describe_preset(preset), "values": known, "rows": describe_rows(preset)}


def fill_from_file(workspace: Workspace, kind: str, file_id: str) -> dict[str, Any]:
    """Returns the note about a file of the Library, and what the form takes over from it."""
    try:
        opened = open_file(workspace, kind, file_id)
    except WorkspaceError as error:
        return {"note": note(str(error), "error")}
    values = {} if opened.config is None else FORM.to_values(opened.config)
    values.pop(NAME, None)
    return {
        "note": note(opened.message),
        "values": values | {START_FROM: opened.start_from},
        "preset": "" if opened.config is None else OPENED,
        "dataset": opened.dataset,
        "base_model": opened.base_model,
    }


def _render_preset(_workspace: Workspace, params: Params) -> str:
    return json.dumps(fill_from_preset(params.get("preset", "")))


def _render_file(workspace: Workspace, params: Params) -> str:
    return json.dumps(fill_from_file(workspace, params.get("kind", ""), params.get("file", "")))


def _has_no_version(_workspace: Workspace, _params: Params) -> None:
    """They are asked for once and shown nowhere, so nobody compares them."""


def _read_settings(workspace: Workspace, entry: AdapterEntry) -> RunConfig | None:
    """Returns the settings of the run that made a file, else those in its own header."""
    if entry.run_id:
        return read_run_config(workspace.find_run(entry.run_id))
    settings = read_settings(entry.path)
    if not settings:
        return None
    try:
        return layer_config(settings=settings)
    except ConfigError as error:
        raise WorkspaceError(str(error)) from error


def _find_name(listed: Mapping[str, Path], path: str) -> str:
    place = Path(path).resolve() if path else None
    return next((name for name, known in listed.items() if known.resolve() == place), "")


VIEWS = {
    "preset": View(_render_preset, _has_no_version),
    "opened-file": View(_render_file, _has_no_version),
}
