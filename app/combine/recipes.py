"""What the workbench is asked to make, and the command that makes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.combine import text
from app.core.generation import choose_base_model
from app.core.lora_files import AdapterEntry, list_adapters
from app.core.workspace import Workspace, WorkspaceError
from app.ui.form import Form, make_form
from trainer.config import (
    COMBINE_OPTIONS,
    ConfigError,
    Options,
    get_used_with,
    list_used,
    make_options,
)

MAX_FILES = 4
MAX_WEIGHT = 2
# Tasks that write a base model: what they will do can be seen without writing it.
MODEL_TASKS = frozenset({"bake", "subtract"})
# How many files a task takes, at least and at most.
FILES = {"merge": (2, MAX_FILES), "resize": (1, 1), "scale": (1, 1), "extract": (0, 0),
         "bake": (1, MAX_FILES), "subtract": (1, MAX_FILES)}  # fmt: skip
WEIGHTED = frozenset({"merge", "bake", "subtract"})
# Base models are chosen from the workspace's; the report always counts sign conflicts.
MODELS = ("base_model", "tuned_model")
_ALWAYS = {"signs": True}
# What the form holds first, where a setting's own default would do nothing.
_FIRST_VALUES = {"resize.rank": 8, "extract.rank": 32}


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


def make_task_form(task: str) -> Form:
    """Returns the fields of a task that follow from its settings' model."""
    return make_form(COMBINE_OPTIONS[task], without=(*MODELS, *_ALWAYS))


def list_first_values() -> dict[str, Any]:
    """Returns what the page holds before anybody has typed, as the browser sends it."""
    settings = {
        f"{task}.{path}": value
        for task in FILES
        for path, value in make_task_form(task).to_defaults().items()
    }
    return {
        "task": "merge",
        "settings": settings | _FIRST_VALUES,
        "files": dict.fromkeys(list_rows(), ""),
        "weights": dict.fromkeys(list_rows(), 1.0),
        "base_model": "",
        "tuned_model": None,
        "prompt": "",
        "seed": 1,
        "strength": 1.0,
        "name": "",
    }


def make_page_values(recipe: Recipe) -> dict[str, Any]:
    """Returns what the page holds of a recipe, as the browser sends it."""
    settings = {
        f"{recipe.task}.{name}": value
        for name, value in recipe.settings.items()
        if name not in MODELS
    }
    rows = [*recipe.files, *[("", 1.0)] * MAX_FILES]
    return {
        "task": recipe.task,
        "settings": settings,
        "files": {number: file for number, (file, _) in zip(list_rows(), rows, strict=False)},
        "weights": {number: weight for number, (_, weight) in zip(list_rows(), rows, strict=False)},
        "base_model": recipe.settings.get("base_model") or "",
        "tuned_model": recipe.settings.get("tuned_model"),
    }


def describe_task(task: str) -> dict[str, Any]:
    """Returns what the page shows of a task."""
    fields = COMBINE_OPTIONS[task].model_fields
    base = fields["base_model"]
    required = base.is_required()
    return {
        "info": text.TASKS_INFO[task],
        "files": FILES[task],
        "weighted": task in WEIGHTED,
        # A setting is shown where others have one of these values.
        "conditions": {
            one.path: get_used_with(fields[one.path]) for one in make_task_form(task).fields
        },
        "base": {
            "label": base.title,
            "info": base.description if required else f"{base.description} {text.BASE_FOR_IMAGES}",
            "none": text.NO_FILE if required else text.BASE_OWN,
            "required": required,
        },
        "tuned": "tuned_model" in fields,
    }


def load_recipe(data: Mapping[str, Any]) -> Recipe:
    """Returns a recipe from `to_json`; raises KeyError, TypeError or ValueError if damaged."""
    files = tuple((str(name), weight) for name, weight in data["files"])
    return Recipe(str(data["task"]), files, dict(data["settings"]))


def read_recipe(
    task: object,
    settings: Mapping[str, Any],
    files: Mapping[str, Any],
    weights: Mapping[str, Any],
    base_model: object = "",
    tuned_model: object = None,
) -> Recipe:
    """Returns what the page shows; fields that the task does not use are no part of it.

    Settings come by task and name ("merge.rank"), files and weights by the number of their row.
    """
    name = str(task)
    if name not in FILES:
        return Recipe(name)
    values = {
        path.removeprefix(f"{name}."): value
        for path, value in settings.items()
        if path.startswith(f"{name}.")
    }
    values |= {"base_model": base_model, "tuned_model": tuned_model}
    most = FILES[name][1]
    rows = [(files.get(number), weights.get(number)) for number in list_rows()][:most]
    chosen = [(str(one), weight if name in WEIGHTED else 1.0) for one, weight in rows if one]
    used = list_used(COMBINE_OPTIONS[name], values)
    return Recipe(name, tuple(chosen), {key: values[key] for key in used if key in values})


def parse_recipe(shared: str) -> Recipe | None:
    """Returns what a page shares of its fields (`js/combine.js`); None where that is nothing."""
    try:
        return read_recipe(**json.loads(shared))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def list_rows() -> list[str]:
    """Returns the numbers of the rows of files, as the page's groups have them."""
    return [str(number) for number in range(1, MAX_FILES + 1)]


def list_sources(workspace: Workspace) -> list[AdapterEntry]:
    """Returns the files that can be combined: exports and brought files, but no checkpoints."""
    return [one for one in list_adapters(workspace) if one.id.endswith(".safetensors")]


def find_sources(workspace: Workspace, recipe: Recipe) -> list[AdapterEntry]:
    """Returns the files of a recipe.

    Raises:
        WorkspaceError: there are too few, one is gone, or there is no such task.
    """
    if recipe.task not in FILES:
        raise WorkspaceError(text.NO_TASK)
    least, _ = FILES[recipe.task]
    if len(recipe.files) < least:
        raise WorkspaceError(text.TWO_FILES if least == 2 else text.ONE_FILE)
    entries = {entry.id: entry for entry in list_sources(workspace)}
    for source_id, _ in recipe.files:
        if source_id not in entries:
            raise WorkspaceError(text.no_such_file(source_id))
    return [entries[source_id] for source_id, _ in recipe.files]


def read_weights(recipe: Recipe) -> list[float]:
    """Returns the files' weights; raises WorkspaceError for one that is out of bounds."""
    try:
        weights = [float(weight) for _, weight in recipe.files]
    except (TypeError, ValueError):
        weights = [-1.0]
    if not all(0 <= weight <= MAX_WEIGHT for weight in weights):
        raise WorkspaceError(text.bad_weight(MAX_WEIGHT))
    return weights


def make_arguments(workspace: Workspace, recipe: Recipe, to: Path) -> list[str]:
    """Returns the command line behind `lorasmith` that follows a recipe.

    Everything is checked here that can be without looking into files; those the command looks into.

    Raises:
        WorkspaceError: something is missing or out of bounds.
    """
    entries = find_sources(workspace, recipe)
    files = [str(entry.path.resolve()) for entry in entries]
    weights = read_weights(recipe)
    if recipe.task in WEIGHTED:
        files = [f"{path}:{weight:g}" for path, weight in zip(files, weights, strict=True)]
    options = _read_options(workspace, recipe, entries)
    ending = [f"--to={to}", "--json", f"--workspace={workspace.root}"]
    if recipe.task not in MODEL_TASKS:
        # A draft may be what some program stumbles over: the page reports it before it is saved.
        ending.append("--force")
    return [recipe.task, *files, *options.to_arguments(), *ending]


def _read_options(workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]) -> Options:
    model, form = COMBINE_OPTIONS[recipe.task], make_task_form(recipe.task)
    values = form.to_tree(recipe.settings) | _find_models(workspace, recipe, entries)
    values |= {name: value for name, value in _ALWAYS.items() if name in model.model_fields}
    try:
        return make_options(model, values)
    except ConfigError as error:
        labels = {one.path: one.label for one in form.fields}
        lines = [
            f"{labels[one.path]}: {one.message}." if one.path in labels else one.message
            for one in error.problems
        ]
        raise WorkspaceError(" ".join(lines)) from None


def _find_models(
    workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]
) -> dict[str, str]:
    """Returns the base models that were chosen; else the first file's own, if it is still here."""
    fields = COMBINE_OPTIONS[recipe.task].model_fields
    names = {key: recipe.settings.get(key) for key in MODELS if key in fields}
    if len(names) == 2 and (not all(names.values()) or len({*names.values()}) == 1):
        raise WorkspaceError(text.TWO_MODELS)
    if fields["base_model"].is_required() and not names["base_model"]:
        raise WorkspaceError(text.CHOOSE_BASE)
    if all(names.values()):
        return {key: str(workspace.find_base_model(name)) for key, name in names.items()}
    try:
        path = Path(choose_base_model(workspace, names["base_model"], entries).path)
    except WorkspaceError:
        return {}
    return {"base_model": str(path)} if path.exists() else {}
