"""Turning what the workbench is asked to make into the command that makes it."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.combine import text as words
from app.combine.recipes import BLOCKS, FILES, MODEL_TASKS, Recipe, find_source
from app.core.adapters import AdapterEntry
from app.core.workspace import Workspace, WorkspaceError
from app.preview.generation import find_drawing_base
from trainer.config import BaseModelConfig
from trainer.formats.precision import PRECISIONS

_BLOCK_PATTERNS = {
    "down": "unet.down_blocks.*",
    "middle": "unet.mid_block.*",
    "up": "unet.up_blocks.*",
    "text": "text_encoder*",
}
# Begins with a letter or a star, so that it can never be taken for an option.
_PATTERN = re.compile(r"[A-Za-z*][A-Za-z0-9_.*?\[\]-]*=[0-9.+-]+")
_MAX_RANK = 4096
_MAX_SEED = 2**31 - 1


def make_arguments(workspace: Workspace, recipe: Recipe, to: Path) -> list[str]:
    """Returns the command line behind `lorasmith` that follows a recipe.

    Everything is checked here that can be without looking into files; those the command looks into.

    Raises:
        WorkspaceError: something is missing or out of bounds.
    """
    entries = find_sources(workspace, recipe)
    make = {
        "merge": _list_merge,
        "resize": _list_resize,
        "scale": _list_scale,
        "extract": _list_extract,
        "bake": _list_bake,
        "subtract": _list_bake,
    }[recipe.task]
    ending = [f"--to={to}", "--json", f"--workspace={workspace.root}"]
    if recipe.task not in MODEL_TASKS:
        # A draft may be what some program stumbles over: the page says so before it is saved.
        ending.append("--force")
    return [recipe.task, *make(workspace, recipe, entries), *ending]


def find_sources(workspace: Workspace, recipe: Recipe) -> list[AdapterEntry]:
    """Returns the files of a recipe.

    Raises:
        WorkspaceError: there are too few, one is gone, or there is no such task.
    """
    if recipe.task not in FILES:
        raise WorkspaceError(words.NO_TASK)
    least, _ = FILES[recipe.task]
    if len(recipe.files) < least:
        raise WorkspaceError(words.TWO_FILES if least == 2 else words.ONE_FILE)
    return [find_source(workspace, source_id) for source_id, _ in recipe.files]


def find_base(
    workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]
) -> BaseModelConfig:
    """Returns the base model that a recipe's pictures are drawn with.

    Raises:
        WorkspaceError: none is chosen and none is known.
    """
    return find_drawing_base(workspace, recipe.settings.get("base_model"), entries)


def read_weights(recipe: Recipe) -> list[float]:
    """Returns the weights of a recipe's files.

    Raises:
        WorkspaceError: one is no number, or out of bounds.
    """
    return [_read_number(words.WEIGHT, weight, 0, 2) for _, weight in recipe.files]


def _list_merge(workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]) -> list[str]:
    method = recipe.settings.get("method")
    if method not in words.METHODS:
        raise WorkspaceError(words.NO_TASK)
    found = [*_list_weighted(recipe, entries), f"--method={method}", "--signs"]
    if "density" in recipe.settings:
        found.append(f"--density={_read_share(words.DENSITY, recipe.settings['density']):g}")
    if "seed" in recipe.settings:
        found.append(f"--seed={_read_whole(words.SEED, recipe.settings['seed'], 0, _MAX_SEED)}")
    rest = (_list_rank(recipe), _list_precision(recipe), _list_base(workspace, recipe, entries))
    return [*found, *(one for part in rest for one in part)]


def _list_resize(
    workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]
) -> list[str]:
    base = _list_base(workspace, recipe, entries)
    path = str(entries[0].path.resolve())
    return [path, *_list_choice(recipe), *_list_precision(recipe), *base]


def _list_scale(workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]) -> list[str]:
    patterns = str(recipe.settings.get("patterns") or "").split()
    for text in patterns:
        _check_pattern(text)
    for block in BLOCKS:
        factor = _read_number(words.BLOCKS[block], recipe.settings.get(block), 0, 2)
        if factor != 1:
            patterns.append(f"{_BLOCK_PATTERNS[block]}={factor:g}")
    if not patterns:
        raise WorkspaceError(words.ALL_THE_SAME)
    base = _list_base(workspace, recipe, entries)
    return [str(entries[0].path.resolve()), *patterns, *_list_precision(recipe), *base]


def _list_extract(
    workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]
) -> list[str]:
    del entries
    names = [recipe.settings.get(key) for key in ("base_model", "tuned_model")]
    if not all(names) or names[0] == names[1]:
        raise WorkspaceError(words.TWO_MODELS)
    models = [str(workspace.find_base_model(name)) for name in names]
    return [*models, *_list_choice(recipe), *_list_precision(recipe)]


def _list_bake(workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]) -> list[str]:
    chosen = recipe.settings.get("base_model")
    if not chosen:
        raise WorkspaceError(words.CHOOSE_BASE)
    base = workspace.find_base_model(chosen)
    return [*_list_weighted(recipe, entries), f"--base-model={base}"]


def _list_weighted(recipe: Recipe, entries: Sequence[AdapterEntry]) -> list[str]:
    weights = read_weights(recipe)
    return [
        f"{entry.path.resolve()}:{weight:g}" for entry, weight in zip(entries, weights, strict=True)
    ]


def _list_choice(recipe: Recipe) -> list[str]:
    found = _list_rank(recipe)
    if found == ["--rank=0", "--energy=1"]:
        raise WorkspaceError(words.SAY_HOW_MUCH)
    return found


def _list_rank(recipe: Recipe) -> list[str]:
    rank = _read_whole(words.RANK, recipe.settings.get("rank"), 0, _MAX_RANK)
    energy = _read_share(words.ENERGY, recipe.settings.get("energy"))
    return [f"--rank={rank}", f"--energy={energy:g}"]


def _list_precision(recipe: Recipe) -> list[str]:
    precision = recipe.settings.get("precision")
    return [f"--precision={precision if precision in PRECISIONS else PRECISIONS[0]}"]


def _list_base(workspace: Workspace, recipe: Recipe, entries: Sequence[AdapterEntry]) -> list[str]:
    """Returns the base model where one was chosen, or where the first file's own is still here."""
    chosen = recipe.settings.get("base_model")
    if chosen:
        return [f"--base-model={workspace.find_base_model(chosen)}"]
    try:
        path = Path(find_base(workspace, recipe, entries).path)
    except WorkspaceError:
        return []
    return [f"--base-model={path}"] if path.exists() else []


def _check_pattern(text: str) -> None:
    if not _PATTERN.fullmatch(text):
        raise WorkspaceError(words.bad_pattern(text))
    try:
        float(text.rpartition("=")[2])
    except ValueError:
        raise WorkspaceError(words.bad_pattern(text)) from None


def _read_number(name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise WorkspaceError(words.bad_number(name, low, high))
    return number


def _read_whole(name: str, value: Any, low: int, high: int) -> int:
    number = _read_number(name, value, low, high)
    if number != int(number):
        raise WorkspaceError(words.not_whole(name))
    return int(number)


def _read_share(name: str, percent: Any) -> float:
    return _read_number(name, percent, 1, 100) / 100
