"""The undo log of a change of many captions: the old text of each, line by line.

    .undo/000001.jsonl     {"what": "Suggested by blip"}
                           {"image": "a.png", "before": null, "after": "a red cat"}

`before` is all that was in the caption file, null where there was none. A dataset may come from
anywhere, so the content of a log is validated before it is used.
"""

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets_tools.captions import normalise_caption
from datasets_tools.disk import remove_empty_folder, remove_file, sync_file
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error
from datasets_tools.formats import IMAGE_SUFFIXES
from datasets_tools.groups import is_group

UNDO_FOLDER = ".undo"
MAX_LOGS = 50
LONGEST_WHAT = 200

_DIGITS = 6


@dataclass(frozen=True)
class Entry:
    """One caption that was changed: a line of an undo log."""

    image: str
    before: str | None
    after: str


def create_log(dataset: Path, what: str, first: Entry) -> Path:
    """Creates the undo log of a change with its first caption, and returns its path.

    Only the last changes are kept; the logs of older ones are removed.

    Raises:
        DatasetError: the folder of undo logs is a link out of the dataset.
        OSError: from the system; no log was created.
    """
    folder = dataset / UNDO_FOLDER
    if folder.is_symlink():
        msg = f"{UNDO_FOLDER} in {show_name(dataset)} is a link, so changes could not be undone."
        raise DatasetError(f"{msg} Remove the link and try again.")
    folder.mkdir(exist_ok=True)
    known = list_logs(dataset)
    number = int(known[-1].stem) + 1 if known else 1
    while True:
        log = folder / f"{number:0{_DIGITS}d}.jsonl"
        try:
            log.touch(exist_ok=False)
        except OSError:
            if not log.exists():
                raise
            number += 1  # another change started at the same time
            continue
        break
    try:
        _append(log, {"what": what}, asdict(first))
    except OSError:
        remove_log(log)
        raise
    for old in known[: 1 - MAX_LOGS]:
        with contextlib.suppress(OSError):
            remove_log(old)
    return log


def append_entry(log: Path, entry: Entry) -> None:
    """Adds a caption and waits until the disk has it.

    Raises:
        OSError: from the system; the log is unchanged.
    """
    _append(log, asdict(entry))


def remove_log(log: Path) -> None:
    """Removes an undo log, and the folder of logs with the last one.

    Raises:
        OSError: from the system.
    """
    remove_file(log)
    with contextlib.suppress(OSError):  # there are others in it
        remove_empty_folder(log.parent)


def list_logs(dataset: Path) -> list[Path]:
    """Returns the undo logs, oldest first."""
    folder = dataset / UNDO_FOLDER
    if folder.is_symlink():
        return []  # its target is not part of the dataset
    try:
        logs = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]+\.jsonl", path.name)]
    except OSError:
        return []
    files = [path for path in logs if path.is_file() and not path.is_symlink()]
    return sorted(files, key=lambda path: int(path.stem))


def read_log(log: Path) -> tuple[str, list[Entry]]:
    """Returns the description of the change, and its entries; an incomplete last line is skipped.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        lines = log.read_bytes().splitlines()
    except OSError as error:
        name = f"{UNDO_FOLDER}/{show_name(log)}"
        msg = f"The undo log {name} cannot be read: {explain_os_error(error)}"
        raise DatasetError(msg) from error
    what, entries = "", []
    for line in lines:
        fields = _parse(line)
        if isinstance(fields.get("what"), str):
            what = _show_what(fields["what"])
        elif (entry := _make_entry(fields)) is not None:
            entries.append(entry)
    return what, entries


def _append(log: Path, *lines: dict[str, Any]) -> None:
    size = log.stat().st_size
    try:
        with log.open("a", encoding="ascii", newline="\n") as file:
            # Names of files need not be Unicode; in ASCII each of them comes back as it was.
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
            sync_file(file)
    except OSError:
        with contextlib.suppress(OSError):  # half a line would damage the next one
            os.truncate(log, size)
        raise


def _parse(line: bytes) -> dict[str, Any]:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _make_entry(fields: dict[str, Any]) -> Entry | None:
    """Returns an entry that names an image of the dataset or a group, and nothing outside of it."""
    image, before, after = (fields.get(name) for name in ("image", "before", "after"))
    if not isinstance(image, str) or not isinstance(before, str | None):
        return None
    group, slash, name = image.rpartition("/")
    plain = Path(name).name == name and "\0" not in image and (not slash or is_group(group))
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
