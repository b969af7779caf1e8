"""The examples of a dataset, and what stands for them in a browser."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from app.core.jobs import Job, name_job, read_job
from app.core.workspace import Workspace
from datasets_tools.bounded_json import read_table
from datasets_tools.captions import TRASH_FOLDER
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import Example, scan_folder
from datasets_tools.groups import list_groups, read_title

TRIGGER_FILE = "dataset.json"
SUGGESTING = "caption"  # the kind of job that suggests captions
THUMBNAIL_ID = 32  # letters of an image's content id


@dataclass(frozen=True)
class Tile:
    """One example in the grid. `key` stands for it everywhere in the browser."""

    key: str
    name: str
    caption: str
    width: int
    height: int
    thumbnail: str


def key_of(example: Example) -> str:
    """Returns what stands for an example in the browser.

    Neither a position, which shifts when images come and go, nor the content alone, which two
    copies of an image share, nor the file's name, which would come back as a path.
    """
    # A group keeps its title when it gets other repeats, so that an open editor keeps its image.
    place = f"{read_title(example.group)}/" if example.group else ""
    text_of_both = f"{place}{example.path.name}\0{example.id}"
    return hashlib.sha256(text_of_both.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def show_example(example: Example) -> str:
    """Returns the name of an example fit for a sentence, below its group where it has one."""
    name = show_name(example.path)
    return f"{show_name(Path(example.group))}/{name}" if example.group else name


def thumbnail_of(example: Example) -> str:
    """Returns the file name of an example's small copy, which is its content."""
    return f"{example.id[:THUMBNAIL_ID]}.webp"


def thumbnail_url(dataset: str, name: str) -> str:
    """Returns the address of a small copy of an image of a dataset."""
    return f"media/thumbnail/{quote(dataset, safe='')}/{quote(name, safe='')}"


def image_url(dataset: str, key: str) -> str:
    """Returns the address of an image of a dataset."""
    return f"media/image/{quote(dataset, safe='')}/{quote(key, safe='')}"


def list_examples(folder: Path) -> list[Example]:
    """Returns the examples of a dataset; none when there is nothing in it yet.

    The folder is scanned again when something in it has changed.
    """
    return list(_scan(folder, folder_signature(folder)))


@functools.lru_cache(maxsize=16)
def _scan(folder: Path, _signature: str) -> tuple[Example, ...]:
    try:
        return tuple(scan_folder(folder)[0])
    except DatasetError:
        return ()


def find_example(folder: Path, key: object) -> Example | None:
    """Returns the example that a key stands for; None when it is gone."""
    return next((one for one in list_examples(folder) if key_of(one) == key), None)


def view_tiles(folder: Path) -> list[Tile]:
    """Returns the examples in the order of their names."""
    return [
        Tile(
            key=key_of(example),
            name=show_example(example),
            caption=example.caption,
            width=example.width,
            height=example.height,
            thumbnail=thumbnail_of(example),
        )
        for example in list_examples(folder)
    ]


def read_trigger(folder: Path) -> str:
    """Returns the dataset's trigger word."""
    try:
        data = read_table(folder / TRIGGER_FILE)
        return str(data["trigger"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


_T = TypeVar("_T")
_answers: ContextVar[dict[object, Any] | None] = ContextVar("answers", default=None)


@contextlib.contextmanager
def look_once() -> Iterator[None]:
    """Has each folder looked at only once, for all that one request asks about it."""
    token = _answers.set({})
    try:
        yield
    finally:
        _answers.reset(token)


def look(place: object, read: Callable[[], _T]) -> _T:
    """Returns what is read at a place; within `look_once` it is read only the first time."""
    answers = _answers.get()
    if answers is None:
        return read()
    if place not in answers:
        answers[place] = read()
    answer: _T = answers[place]
    return answer


def folder_signature(folder: Path) -> str:
    """Returns a text that changes when anything in the dataset does."""
    return look(folder, lambda: _read_signature(folder))


def _read_signature(folder: Path) -> str:
    try:
        facts = sorted(
            fact for place in (folder, *list_groups(folder)) for fact in _stat_all(place)
        )
    except OSError:
        return ""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()


def _stat_all(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                # A link that leads nowhere is still something in the folder.
                state = entry.stat(follow_symlinks=Path(entry.path).exists())
                yield entry.path, state.st_size, state.st_mtime_ns, state.st_ino


def has_trash(folder: Path) -> bool:
    """Whether there is a removed image that can come back."""
    trash = folder / TRASH_FOLDER
    return trash.is_dir() and any(path.is_dir() for path in trash.iterdir())


def find_suggesting(workspace: Workspace, dataset: object) -> Job:
    """Returns the job that suggests captions for a dataset."""
    return read_job(workspace, name_suggesting(str(dataset)))


def name_suggesting(dataset: str) -> str:
    """Returns the id of that job: a dataset has one, so that two do not write one caption."""
    return name_job(SUGGESTING, dataset)
