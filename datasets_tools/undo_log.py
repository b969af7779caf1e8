"""The journal of a change of many captions: what each of them was before, line by line.

    .undo/000001.jsonl     {"what": "Suggested by blip"}
                           {"image": "a.png", "before": null, "after": "a red cat"}

`before` is all that was in the caption file, null where there was none. A dataset may come from a
stranger, so what a journal says is looked at before it is believed.
"""

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets_tools.captions import normalise_caption
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error
from datasets_tools.images import IMAGE_SUFFIXES

UNDO_FOLDER = ".undo"
KEPT_CHANGES = 50
LONGEST_WHAT = 200

_DIGITS = 6


@dataclass(frozen=True)
class Entry:
    """One caption that was changed: a line of a journal."""

    image: str
    before: str | None
    after: str


def begin_journal(dataset: Path, what: str, first: Entry) -> Path:
    """Begins the journal of a change with its first caption, and returns where it is.

    Only the last changes are kept; the journals of older ones are removed.

    Raises:
        DatasetError: the folder of journals leads out of the dataset.
        OSError: from the system; no journal was begun.
    """
    folder = dataset / UNDO_FOLDER
    if folder.is_symlink():
        msg = f"{UNDO_FOLDER} in {show_name(dataset)} is a link, so no change could be taken back."
        raise DatasetError(f"{msg} Remove the link and try again.")
    folder.mkdir(exist_ok=True)
    known = list_journals(dataset)
    number = int(known[-1].stem) + 1 if known else 1
    while True:
        journal = folder / f"{number:0{_DIGITS}d}.jsonl"
        try:
            journal.touch(exist_ok=False)
        except FileExistsError:
            number += 1  # another change began in this moment
            continue
        break
    try:
        _append(journal, {"what": what}, asdict(first))
    except OSError:
        remove_journal(journal)
        raise
    for old in known[: 1 - KEPT_CHANGES]:
        with contextlib.suppress(OSError):
            remove_journal(old)
    return journal


def append_entry(journal: Path, entry: Entry) -> None:
    """Adds a caption and waits until the disk has it.

    Raises:
        OSError: from the system; the journal is as it was.
    """
    _append(journal, asdict(entry))


def remove_journal(journal: Path) -> None:
    """Removes a journal, and the folder of journals with the last one.

    Raises:
        OSError: from the system.
    """
    journal.unlink()
    with contextlib.suppress(OSError):  # there are others in it
        journal.parent.rmdir()


def list_journals(dataset: Path) -> list[Path]:
    """Returns the journals, oldest first."""
    folder = dataset / UNDO_FOLDER
    if folder.is_symlink():
        return []  # what it leads to is not this dataset's
    try:
        logs = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]+\.jsonl", path.name)]
    except OSError:
        return []
    files = [path for path in logs if path.is_file() and not path.is_symlink()]
    return sorted(files, key=lambda path: int(path.stem))


def read_journal(journal: Path) -> tuple[str, list[Entry]]:
    """Returns the change in words, and its entries; half a last line is no entry.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        lines = journal.read_bytes().splitlines()
    except OSError as error:
        name = f"{UNDO_FOLDER}/{show_name(journal)}"
        msg = f"The journal {name} cannot be read: {explain_os_error(error)}"
        raise DatasetError(msg) from error
    what, entries = "", []
    for line in lines:
        fields = _parse(line)
        if isinstance(fields.get("what"), str):
            what = _show_what(fields["what"])
        elif (entry := _make_entry(fields)) is not None:
            entries.append(entry)
    return what, entries


def _append(journal: Path, *lines: dict[str, Any]) -> None:
    size = journal.stat().st_size
    try:
        with journal.open("a", encoding="ascii", newline="\n") as file:
            # Names of files need not be Unicode; in ASCII each of them comes back as it was.
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):  # half a line would spoil the one that comes after it
            os.truncate(journal, size)
        raise


def _parse(line: bytes) -> dict[str, Any]:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _make_entry(fields: dict[str, Any]) -> Entry | None:
    """Returns an entry that names an image of the dataset itself, and nothing outside of it."""
    image, before, after = (fields.get(name) for name in ("image", "before", "after"))
    if not isinstance(image, str) or not isinstance(before, str | None):
        return None
    plain = Path(image).name == image and "\0" not in image
    if not isinstance(after, str) or not plain or Path(image).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    try:
        os.fsencode(image)
        (before or "").encode()
    except UnicodeEncodeError:
        return None
    return Entry(image, before, after)


def _show_what(text: str) -> str:
    plain = "".join(char for char in normalise_caption(text) if char.isprintable())
    return plain if len(plain) <= LONGEST_WHAT else f"{plain[: LONGEST_WHAT - 1]}…"
