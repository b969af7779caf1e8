"""Running a stage once per content of what goes into it."""

import ast
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_tools.files import write_atomically

_ROOTS = {
    "recipe": Path(__file__).resolve().parents[1],
    "trainer": Path(__file__).resolve().parents[3],
    "datasets_tools": Path(__file__).resolve().parents[3],
}
# Their text does not decide what a stage makes: the values of settings are hashed themselves.
_WITHOUT_EFFECT = {
    *("recipe.settings", "recipe.errors", "recipe.stages"),
    *("datasets_tools.files", "datasets_tools.errors", "datasets_tools.captioners.options"),
}


@dataclass(frozen=True)
class Result:
    """A finished stage.

    Attributes:
        key: Hash of all that went into it; what the next stage counts as its input.
        folder: What came out.
    """

    key: str
    folder: Path


def run_stage(
    work: Path, name: str, ingredients: Mapping[str, Any], produce: Callable[[Path], None]
) -> Result:
    """Returns the stage's result, made now or on an earlier call with the same ingredients.

    `produce` writes into a folder that gets its final name only when it has returned. What it
    left there when it was interrupted is still there on the next call.

    Args:
        work: Where all stages lie.
        name: The stage.
        ingredients: Everything that decides the result: settings, keys of inputs, code.
        produce: Makes the result in the folder it is given.
    """
    text = json.dumps({"stage": name, **ingredients}, sort_keys=True, indent=1)
    key = hashlib.sha256(text.encode()).hexdigest()
    folder = work / f"{name}-{key[:16]}"
    if folder.is_dir():
        print(f"{name}: already there, {folder.name}", flush=True)
        return Result(key, folder)
    print(f"{name}: making {folder.name}", flush=True)
    unfinished = work / f"{folder.name}.unfinished"
    unfinished.mkdir(parents=True, exist_ok=True)
    write_atomically(unfinished / "ingredients.json", text)
    produce(unfinished)
    unfinished.rename(folder)
    return Result(key, folder)


def hash_code(module: str) -> str:
    """Returns a hash of a module's source and of all of ours that it imports, at any depth."""
    digest = hashlib.sha256()
    for name, text in sorted(_collect_sources(module).items()):
        digest.update(f"{name}\n{text}\n".encode())
    return digest.hexdigest()


def _collect_sources(module: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _find_source(name)
        if path is None or name in texts or name in _WITHOUT_EFFECT:
            continue
        texts[name] = path.read_text(encoding="utf-8")
        waiting += _list_imports(texts[name])
    return texts


def _find_source(module: str) -> Path | None:
    top = module.split(".")[0]
    if top not in _ROOTS or module.startswith("trainer.config"):
        return None
    path = _ROOTS[top].joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _list_imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
