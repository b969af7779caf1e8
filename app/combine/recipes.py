"""What the workbench is asked to make: a task, its files, and the settings that the task uses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.combine import text as words
from app.core.adapters import AdapterEntry, list_adapters
from app.core.workspace import Workspace, WorkspaceError

MAX_FILES = 4
# In the order in which the page sends them, followed by every file and its weight.
SETTINGS = ("method", "rank", "energy", "density", "seed", "precision", "down", "middle", "up",
            "text", "patterns", "base_model", "tuned_model")  # fmt: skip
BLOCKS = ("down", "middle", "up", "text")
# Tasks that write a base model: what they will do can be seen without writing it.
MODEL_TASKS = frozenset({"bake", "subtract"})
# How many files a task takes, at least and at most.
FILES = {"merge": (2, MAX_FILES), "resize": (1, 1), "scale": (1, 1), "extract": (0, 0),
         "bake": (1, MAX_FILES), "subtract": (1, MAX_FILES)}  # fmt: skip
WEIGHTED = frozenset({"merge", "bake", "subtract"})
_USED = {
    "merge": ("method", "rank", "energy", "precision", "base_model"),
    "resize": ("rank", "energy", "precision", "base_model"),
    "scale": (*BLOCKS, "patterns", "precision", "base_model"),
    "extract": ("base_model", "tuned_model", "rank", "energy", "precision"),
    "bake": ("base_model",),
    "subtract": ("base_model",),
}
_USED_BY_METHOD = {
    "ties": ("density",),
    "dare_linear": ("density", "seed"),
    "dare_ties": ("density", "seed"),
}


@dataclass(frozen=True)
class Recipe:
    """What to make. Two that are equal make the same.

    Attributes:
        task: A key of `FILES`, where the page sent one.
        files: Ids as the Preview tab has them, and weights.
        settings: Those that the task uses, as the browser sent them.
    """

    task: str
    files: tuple[tuple[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the recipe as text, the same for equal ones."""
        return json.dumps(asdict(self), sort_keys=True)


def load_recipe(data: Mapping[str, Any]) -> Recipe:
    """Returns a recipe from what `to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    files = tuple((str(name), weight) for name, weight in data["files"])
    return Recipe(str(data["task"]), files, dict(data["settings"]))


def read_recipe(task: object, values: Sequence[Any]) -> Recipe:
    """Returns what the page shows; fields that the task does not use are no part of it."""
    name = str(task)
    given = dict(zip(SETTINGS, values, strict=False))
    rows = values[len(SETTINGS) :]
    _, most = FILES.get(name, (0, 0))
    pairs = list(zip(rows[::2], rows[1::2], strict=True))[:most]
    files = tuple(
        (str(chosen), weight if name in WEIGHTED else 1.0) for chosen, weight in pairs if chosen
    )
    used = list_used(name, given.get("method"))
    return Recipe(name, files, {key: value for key, value in given.items() if key in used})


def list_used(task: str, method: object) -> tuple[str, ...]:
    """Returns the settings that a task uses."""
    extra = _USED_BY_METHOD.get(str(method), ()) if task == "merge" else ()
    return (*_USED.get(task, ()), *extra)


def count_rows(task: str, chosen: Sequence[object]) -> int:
    """Returns how many rows of files to show: those that are filled, and one more to fill."""
    least, most = FILES.get(task, (0, 0))
    filled = max((number for number, one in enumerate(chosen, 1) if one), default=0)
    return min(most, max(least, filled + 1))


def list_sources(workspace: Workspace) -> list[AdapterEntry]:
    """Returns the files that can be combined: exports and brought files, but no checkpoints."""
    return [one for one in list_adapters(workspace) if one.id.endswith(".safetensors")]


def find_source(workspace: Workspace, source_id: str) -> AdapterEntry:
    """Returns the file of an id.

    Raises:
        WorkspaceError: there is none.
    """
    for entry in list_sources(workspace):
        if entry.id == source_id:
            return entry
    raise WorkspaceError(words.no_such_file(source_id))
