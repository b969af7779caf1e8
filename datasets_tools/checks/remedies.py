"""Remedies of findings: images to the trash, cropped, captions with the trigger; all with undo.

Images that a remedy moved or replaced lie in the dataset's trash, and a record beside them names
those that belong together:

    .trash/fix-000001.json     {"what": "Cropped 1 image", "entries": ["000004"], "made": ["a.png"]}

Captions are changed through the undo log, as every change of many captions is.
"""

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets_tools.bounded_json import read_table
from datasets_tools.buckets import make_buckets, place_image
from datasets_tools.captions import add_trigger, read_caption, write_caption
from datasets_tools.checks.report import CheckOptions
from datasets_tools.checks.subject import CheckFinding
from datasets_tools.disk import remove_file
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error, save_for_person, write_atomically
from datasets_tools.groups import is_group, locate
from datasets_tools.images import encode_image, read_image
from datasets_tools.masks import find_mask
from datasets_tools.rewriting import Rewriting
from datasets_tools.trash import TRASH_FOLDER, find_trashed, move_to_trash, restore_entry

_RECORD = re.compile(r"fix-[0-9]{6}\.json")
_ENTRY = re.compile(r"[0-9]{6,}")
_LOOKED_AT = 512  # pixels of the longer side


@dataclass(frozen=True)
class Fixed:
    """What a remedy did, or what its undo did, in a sentence, and how many images that changed."""

    message: str
    count: int


@dataclass
class _Record:
    """What one remedy did to images, so that it can be undone as a whole."""

    path: Path
    what: str = ""
    entries: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def save(self) -> None:
        content = {"what": self.what, "entries": self.entries, "made": self.made}
        write_atomically(self.path, json.dumps(content))


def fix_finding(folder: Path, finding: CheckFinding, options: CheckOptions) -> Fixed:
    """Does what a finding's remedy demands for the images that it names.

    Raises:
        DatasetError: It has no remedy that a program can carry out, or a file cannot be changed;
            what was done before that can be undone.
    """
    remedy = REMEDIES.get(finding.remedy)
    if remedy is None:
        raise DatasetError(f"“{finding.title}” cannot be fixed by a command. {finding.message}")
    try:
        return remedy(folder, finding, options)
    except OSError as error:
        name = show_name(folder)
        message = f"The dataset {name} cannot be changed: {explain_os_error(error)}"
        raise DatasetError(message) from error


def find_last_fix(folder: Path) -> str:
    """Returns what the last remedy that changed images did; "" where none can be undone."""
    records = _list_records(folder)
    return _read_record(records[-1]).what if records else ""


def undo_fix(folder: Path) -> Fixed | None:
    """Brings back the images that the last remedy moved or replaced; None where there is none.

    What it made instead goes to the trash, and a caption that was edited since stays as it is.

    Raises:
        DatasetError: A file cannot be moved; calling it again continues.
    """
    records = _list_records(folder)
    if not records:
        return None
    record = _read_record(records[-1])
    count = 0
    try:
        for number in reversed(record.entries):
            count += _restore(folder, number, record.made)
        remove_file(record.path, missing_ok=True)
    except OSError as error:
        message = f"The images could not be brought back: {explain_os_error(error)}"
        raise DatasetError(message) from error
    return Fixed(f"Undone: {record.what}.", count)


def _restore(folder: Path, number: str, made: list[str]) -> bool:
    entry = folder / TRASH_FOLDER / number
    image = find_trashed(entry)
    if image is None:
        return False  # it was brought back on its own
    name = image.relative_to(entry).as_posix()
    replaced, caption = locate(folder, name), None
    if name in made and replaced.is_file():
        caption = read_caption(replaced)
        move_to_trash(replaced, folder)
    back = restore_entry(entry)
    if back is not None and caption is not None and caption != read_caption(back):
        write_caption(back, caption)
    return True


def _remove(folder: Path, finding: CheckFinding, _options: CheckOptions) -> Fixed:
    record = _make_record(folder)
    for name in finding.names:
        record.entries.append(_move(folder, locate(folder, name)))
        record.what = f"Moved {_count(len(record.entries))} to the trash ({finding.title})"
        record.save()
    return Fixed(f"{record.what}.", len(record.entries))


def _crop(folder: Path, finding: CheckFinding, options: CheckOptions) -> Fixed:
    record = _make_record(folder)
    for name in finding.names:
        path = locate(folder, name)
        if find_mask(path):
            continue  # which would no longer fit
        image = read_image(path)
        cropped = image.crop(choose_crop(image, options))
        kind = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
        # Another name for what is PNG now: its ending would be wrong, and its original is safe.
        target = path if kind == "JPEG" else path.with_suffix(".png")
        if target != path and target.exists():
            raise DatasetError(f"{show_name(target)} exists, so {show_name(path)} was not cropped.")
        data, caption = encode_image(cropped, kind), read_caption(path)
        record.entries.append(_move(folder, path))
        record.made.append(target.relative_to(folder).as_posix())
        record.what = f"Cropped {_count(len(record.entries))}"
        record.save()
        save_for_person(target, data, f"The crop of {show_name(path)}")
        if caption:
            write_caption(target, caption)
    masked = len(finding.names) - len(record.entries)
    if not record.entries:
        raise DatasetError(f"{_count(masked)} with masks cannot be cropped here: crop both alike.")
    left = f" {_count(masked)} with masks stayed: crop both alike." if masked else ""
    return Fixed(f"{record.what}.{left}", len(record.entries))


def _move(folder: Path, path: Path) -> str:
    """Moves an image to the trash; returns the number of its entry there."""
    moved = move_to_trash(path, folder)
    return moved.relative_to(folder / TRASH_FOLDER).parts[0]


def choose_crop(image: Image.Image, options: CheckOptions) -> tuple[int, int, int, int]:
    """Returns the part of an image in the shape of its bucket that has most detail.

    It has the whole height or width. Where detail lies everywhere alike, it is the middle.
    """
    buckets = make_buckets(options.resolution, options.step)
    placed = place_image(image.width, image.height, buckets, options.step, np.inf)
    wide = placed.crop[0] > placed.crop[1]
    along = image.width if wide else image.height
    across = image.height if wide else image.width
    aspect = placed.bucket.aspect if wide else 1 / placed.bucket.aspect
    length = min(round(across * aspect), along)
    small = image.convert("L")
    small.thumbnail((_LOOKED_AT, _LOOKED_AT))
    grey = np.asarray(small, dtype=np.float64)
    detail = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    start = _find_most(detail.sum(axis=0 if wide else 1), along, length)
    if wide:
        return start, 0, start + length, image.height
    return 0, start, image.width, start + length


def _find_most(detail: np.ndarray[Any, Any], along: int, length: int) -> int:
    """Returns where a window of `length` of `along` pixels has most; of equals the middlemost."""
    total = np.concatenate([[0.0], np.cumsum(detail)])
    starts = np.arange(along - length + 1)
    scale = len(detail) / along
    places = np.arange(len(total))
    sums = np.interp((starts + length) * scale, places, total)
    sums = sums - np.interp(starts * scale, places, total)
    best = sums >= sums.max() * (1 - 1e-9)
    from_middle = np.abs(starts - (along - length) / 2)
    return int(starts[best][np.argmin(from_middle[best])])


def _add_trigger(folder: Path, finding: CheckFinding, options: CheckOptions) -> Fixed:
    rewriting = Rewriting(folder, f"Put “{options.trigger}” first, once")
    for name in finding.names:
        path = locate(folder, name)
        rewriting.write(path, add_trigger(read_caption(path), options.trigger))
    number = rewriting.count
    changed = f"{number} {'caption' if number == 1 else 'captions'}"
    return Fixed(f"Put “{options.trigger}” first, once, in {changed}.", number)


# What a button that does it shows; the number is that of the images.
LABELS = {"remove": "Move {} to the trash", "crop": "Crop {}", "add_trigger": "Fix {}"}
REMEDIES: dict[str, Callable[[Path, CheckFinding, CheckOptions], Fixed]] = {
    "remove": _remove,
    "crop": _crop,
    "add_trigger": _add_trigger,
}


def _make_record(folder: Path) -> _Record:
    trash = folder / TRASH_FOLDER
    trash.mkdir(exist_ok=True)
    records = _list_records(folder)
    number = int(records[-1].stem.removeprefix("fix-")) + 1 if records else 1
    return _Record(trash / f"fix-{number:06d}.json")


def _list_records(folder: Path) -> list[Path]:
    """Returns the records of remedies, oldest first."""
    with contextlib.suppress(OSError):
        hits = [path for path in (folder / TRASH_FOLDER).iterdir() if _RECORD.fullmatch(path.name)]
        return sorted(hits)
    return []


def _read_record(path: Path) -> _Record:
    """Returns a record; a dataset may come from anywhere, so its names are checked."""
    try:
        content = read_table(path)
    except (OSError, ValueError):
        content = {}
    entries, made = content.get("entries"), content.get("made")
    return _Record(
        path,
        str(content.get("what", ""))[:200],
        [one for one in _list_texts(entries) if _ENTRY.fullmatch(one)],
        [one for one in _list_texts(made) if _is_name(one)],
    )


def _is_name(text: str) -> bool:
    """Returns whether a text is the name of an image of a dataset, below its group if need be."""
    group, slash, name = text.rpartition("/")
    return Path(name).name == name and (not slash or is_group(group))


def _list_texts(values: object) -> list[str]:
    return [one for one in values if isinstance(one, str)] if isinstance(values, list) else []


def _count(images: int) -> str:
    return f"{images} {'image' if images == 1 else 'images'}"
