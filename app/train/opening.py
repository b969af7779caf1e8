"""Opening a file of the Library in the Train tab: its settings, and its weights to go on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.core.adapters import AdapterEntry, find_adapter
from app.core.lora_files import read_settings
from app.core.run_contents import read_run_config
from app.core.workspace import Workspace, WorkspaceError
from app.models.actions import answer_for_base_model
from app.train import text as words
from trainer.config import ConfigError, RunConfig, layer_config


@dataclass(frozen=True)
class Opened:
    """What the Train tab takes over.

    Attributes:
        told: The sentence about it.
        config: The settings; None leaves those that are shown.
        start_from: The file to go on from; "" starts anew.
        dataset: The dataset's name in the list; "" leaves the chosen one.
        base_model: The base model's name in the list; "" leaves the chosen one.
    """

    told: str
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
        raise WorkspaceError(words.NO_FILE)
    entry = find_adapter(workspace, file_id)
    name, start = entry.path.name, str(entry.path.resolve()) if kind == "continue" else ""
    config = _read_settings(workspace, entry)
    if config is None and not start:
        raise WorkspaceError(words.no_settings(name))
    if config is None:
        return Opened(words.only_start(name), None, start)
    base = _find_name(workspace.list_base_models(), config.base_model.path)
    datasets = {each: workspace.datasets_path / each for each in workspace.list_datasets()}
    told = [words.settings_opened(name)]
    if not base:
        told.append(words.unknown_base(Path(config.base_model.path).name))
    return Opened(
        " ".join(part for part in told if part),
        config,
        start,
        _find_name(datasets, config.dataset.path),
        base,
    )


def keep_prediction(workspace: Workspace, opened: Opened) -> None:
    """Keeps what the settings say that their base model predicts as the answer for it.

    Raises:
        WorkspaceError: the answer cannot be kept.
    """
    prediction = opened.config.base_model.prediction if opened.config else "auto"
    if opened.base_model and prediction != "auto":
        answer_for_base_model(workspace, opened.base_model, prediction)


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
