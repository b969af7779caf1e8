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
from datasets_tools.images import IMAGE_SUFFIXES

TRIGGER_FILE = "dataset.json"
SUGGESTING = "caption"  # the kind of job that suggests captions
THUMBNAIL_ID = 32  # letters of an image's content id
_DATASET_SUFFIXES = (*IMAGE_SUFFIXES, ".txt", ".json")


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
    text_of_both = f"{example.path.name}\0{example.id}"
    return hashlib.sha256(text_of_both.encode("utf-8", "surrogatepass")).hexdigest()[:24]


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
            name=show_name(example.path),
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
    facts = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(_DATASET_SUFFIXES):
                    state = entry.stat()
                    facts.append((entry.name, state.st_size, state.st_mtime_ns, state.st_ino))
    except OSError:
        return ""
    facts.sort()
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()


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
