"""From what the Train tab shows to one complete config, and commands that are asked about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.base_models import name_model_job
from app.core.examples import folder_signature, read_trigger
from app.core.jobs import Job, name_job, send_job
from app.core.workspace import Workspace, WorkspaceError
from app.train import text as words
from app.train.memory import CONFIG_FILE
from app.ui.form import Form, put
from trainer.config import RunConfig, config_to_toml, layer_config

# Settings of the form that hold paths.
PATHS = ("base_model.vae", "dataset.prior_path", "adapter.start_from")


@dataclass(frozen=True)
class Chosen:
    """What the Train tab shows: the dataset, the base model, and the form's values by path."""

    dataset: object
    base_model: object
    values: Mapping[str, Any]


def read_config_of_form(
    workspace: Workspace, form: Form, chosen: Chosen, *, needs_images: bool = True
) -> RunConfig:
    """Returns the config that the Train tab shows.

    Args:
        workspace: Where datasets and base models lie.
        form: What the values belong to.
        chosen: What is shown.
        needs_images: Whether a dataset must have been chosen.

    Raises:
        WorkspaceError: the dataset or the base model is gone.
        ConfigError: all that is wrong with the settings.
    """
    tree = form.to_tree(chosen.values)
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
        path = str(getattr(getattr(config, section), setting))
        if path and not workspace.takes_paths and not Path(path).resolve().is_relative_to(root):
            raise WorkspaceError(words.far_path(name))


def ask_about_settings(workspace: Workspace, word: str, config: RunConfig) -> Job:
    """Sends one of the commands that read a config and print JSON: `estimate` or `header`.

    Raises:
        WorkspaceError: the command cannot be started.
    """
    text, dataset = config_to_toml(config), Path(config.dataset.path)
    looked_at = [folder_signature(dataset), name_model_job(Path(config.base_model.path))]
    job_id = name_job(word, text, *looked_at)
    place = workspace.jobs_path / job_id / CONFIG_FILE

    def write_config(folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    arguments = [word, "--config", str(place), "--json", f"--workspace={workspace.root}"]
    return send_job(workspace, job_id, arguments, write_config)
