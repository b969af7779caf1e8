"""Which base models the app knows: the starter's, those in `models/`, and those added by path.

`base-models.json` in the workspace holds what only a person can tell: where else base models lie,
and the answers to what a file does not say about itself.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from datasets_tools.files import write_atomically

Answers = dict[str, str]


@dataclass(frozen=True)
class KnownModels:
    """What a person entered: paths of base models, and answers by path."""

    added: tuple[str, ...] = ()
    answers: dict[str, Answers] = field(default_factory=dict)


def read_known(path: Path) -> KnownModels:
    """Returns what was entered; nothing where the file is missing or damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        added = tuple(str(one) for one in data["added"])
        answers = {
            str(model): {str(key): str(value) for key, value in given.items()}
            for model, given in data["answers"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return KnownModels()
    return KnownModels(added, answers)


def write_known(path: Path, known: KnownModels) -> None:
    """Saves what was entered."""
    data = {"added": list(known.added), "answers": known.answers}
    write_atomically(path, json.dumps(data, ensure_ascii=False, indent=1))


def is_base_model(path: Path) -> bool:
    """Tells whether a path has the outside of a base model: what is inside, a worker finds out."""
    if path.is_dir():
        return (path / "model_index.json").is_file()
    return path.suffix.lower() == ".safetensors" and path.is_file()


def list_base_models(given: Iterable[Path], models: Path, known: Path) -> dict[str, Path]:
    """Returns the base models by the names under which a person chooses them.

    Args:
        given: Those that the app was started with.
        models: The workspace's folder of base models.
        known: The file of those that were added by path.
    """
    paths = list(given)
    if models.is_dir():
        paths += sorted(path for path in models.iterdir() if not path.name.startswith("."))
    paths += [Path(added) for added in read_known(known).added]
    listed: dict[str, Path] = {}
    for path in paths:
        place = path.resolve()
        if not is_base_model(path) or place in listed.values():
            continue
        # Two that share a name are told apart by the folder in which the later one lies.
        name = path.name if path.name not in listed else f"{path.name} ({place.parent.name})"
        listed.setdefault(name, place)
    return listed


def stamp_base_model(path: Path) -> str:
    """Returns a text that changes when the base model is replaced."""
    files = [path] if path.is_file() else sorted(path.glob("*/*.safetensors"))
    files += [] if path.is_file() else [path / "model_index.json"]
    return repr([_stamp(file) for file in files])


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        facts = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), facts.st_size, facts.st_mtime_ns
