"""What of a run may be published: never a path, a folder's name or a user's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from trainer.config import RunConfig
from trainer.export.errors import ExportError
from trainer.runs.base_models import parse_hub_id

# Settings that are free text and meant to be read by others. Any other text of the config is taken
# for private, so that a new setting that holds a path does not leak by being forgotten here.
_PUBLIC_TEXTS = frozenset(
    {
        "name",
        "dataset.trigger",
        "samples.prompts",
        "samples.negative_prompt",
        "output.title",
        "output.author",
        "output.license",
        "output.description",
        "output.usage_hint",
    }
)
_SETTINGS = "lorasmith.config"


def describe_settings(config: RunConfig) -> dict[str, str]:
    """Returns the header entry from which the settings of a run can be opened again."""
    # How many processes computed it is a matter of the computer.
    train = config.train.model_copy(update={"processes": 0})
    public = strip_settings(config.model_copy(update={"train": train}))
    return {_SETTINGS: json.dumps(public, ensure_ascii=False, separators=(",", ":"))}


def read_settings(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings that made a file, as `layer_config` takes them; {} where it has none.

    What was private when the file was written (base model and dataset above all) is missing.

    Args:
        metadata: The file's header.

    Raises:
        ExportError: the settings are damaged.
    """
    text = metadata.get(_SETTINGS)
    if text is None:
        return {}
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        msg = "The settings in the file's header are damaged. The weights can still be used."
        raise ExportError(msg)
    return settings


def strip_settings(section: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Returns a config as a tree, without anything that may hold a path."""
    public: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            public[name] = strip_settings(value, f"{prefix}{name}.")
        elif _cannot_hold_text(field.annotation) or f"{prefix}{name}" in _PUBLIC_TEXTS:
            public[name] = value
    return public


def name_base_model(path: str) -> str:
    """Returns what a header may call a base model: its file's name, or its name on the hub.

    A folder's name is its owner's own affair: "" for a folder.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return place.name
    hub_id = None if place.exists() else parse_hub_id(path)
    return Path(hub_id.file or hub_id.repository).name if hub_id else ""


def _cannot_hold_text(annotation: Any) -> bool:
    """Whether values of this type are numbers, switches or words from a list of choices."""
    if annotation in {bool, int, float} or get_origin(annotation) is Literal:
        return True
    inner = get_args(annotation)
    return bool(inner) and all(_cannot_hold_text(each) for each in inner)
