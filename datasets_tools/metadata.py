"""Captions in one table for a whole folder: ``metadata.jsonl`` and ``metadata.csv``.

The layout is that of the image folders of Hugging Face datasets: a row per image, its file in the
column ``file_name``, its caption in ``text``.
"""

import csv
import functools
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets_tools.bounded_json import UnreadableError, parse_json
from datasets_tools.disk import read_bytes
from datasets_tools.errors import show_name
from datasets_tools.files import explain_os_error
from datasets_tools.text_files import decode_text

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
LARGEST_METADATA_BYTES = 16 * 1024**2

_FILE_COLUMNS = ("file_name", "filename", "file", "image")
_TEXT_COLUMNS = ("text", "caption", "prompt", "description")


@dataclass(frozen=True)
class Metadata:
    """The captions in the metadata files of a folder.

    Attributes:
        captions: By file name, in small letters and composed Unicode.
        names: The same file names as they are spelt there.
        problems: A sentence for each thing that could not be read.
    """

    captions: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def is_metadata(name: str) -> bool:
    """Return whether a file is a metadata file by its name."""
    return name.lower() in METADATA_NAMES


def read_metadata(paths: Sequence[Path]) -> Metadata:
    """Return what the metadata files of one folder hold, and what is wrong with them.

    A file that has not changed since the last call is not read again.
    """
    captions: dict[str, str] = {}
    spelt: dict[str, str] = {}
    problems: list[str] = []
    # The CSV first, so that the other one wins.
    for path in sorted(paths, key=lambda path: (path.suffix.lower() != ".csv", path.name)):
        try:
            state = path.stat()
            read = _read_file(path, (state.st_ino, state.st_size, state.st_mtime_ns))
        except OSError as error:
            problems.append(f"{show_name(path)} cannot be read: {explain_os_error(error)}")
            continue
        captions |= read.captions
        spelt |= read.names
        problems += read.problems
    return Metadata(captions, spelt, tuple(problems))


@functools.lru_cache(maxsize=32)
def _read_file(path: Path, _state: tuple[int, int, int]) -> Metadata:
    name = show_name(path)
    data = read_bytes(path, LARGEST_METADATA_BYTES + 1)
    if len(data) > LARGEST_METADATA_BYTES:
        size = LARGEST_METADATA_BYTES // 1024**2
        return Metadata(problems=(f"{name} is larger than {size} MB. Split it, or remove it.",))
    try:
        text = decode_text(data).removeprefix("\ufeff")
    except UnicodeDecodeError:
        problem = f"{name} is not UTF-8 text. Save it again with the encoding UTF-8."
        return Metadata(problems=(problem,))
    rows = _read_csv(text) if path.suffix.lower() == ".csv" else _read_jsonl(text)
    captions: dict[str, str] = {}
    spelt: dict[str, str] = {}
    wrong: list[tuple[int, str]] = []
    for line, row in rows:
        file, caption = _pick(row, _FILE_COLUMNS), _pick(row, _TEXT_COLUMNS)
        if file is None or caption is None:
            wrong.append((line, _explain_row(row, file)))
            continue
        plain = file.replace("\\", "/").removeprefix("./")
        key = unicodedata.normalize("NFC", plain).casefold()
        captions[key], spelt[key] = caption, plain
    return Metadata(captions, spelt, _explain_wrong(name, wrong))


def _read_jsonl(text: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except UnreadableError:
            row = None
        yield number, row if isinstance(row, dict) else None


def _read_csv(text: str) -> Iterator[tuple[int, dict[str, Any] | None]]:
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for row in reader:
            yield reader.line_num, {str(key).strip(): value for key, value in row.items()}
    except csv.Error:
        yield reader.line_num, None


def _pick(row: dict[str, Any] | None, columns: Sequence[str]) -> str | None:
    values = [] if row is None else [row[name] for name in columns if name in row]
    return values[0] if values and isinstance(values[0], str) else None


def _explain_row(row: dict[str, Any] | None, file: str | None) -> str:
    if row is None:
        return "cannot be read"
    column = _FILE_COLUMNS[0] if file is None else _TEXT_COLUMNS[0]
    return f"has no text in a column {column}"


def _explain_wrong(name: str, wrong: list[tuple[int, str]]) -> tuple[str, ...]:
    if not wrong:
        return ()
    line, reason = wrong[0]
    others = f", and {len(wrong) - 1} more lines are wrong" if len(wrong) > 1 else ""
    problem = (
        f"Line {line} of {name} {reason}{others}. Each row needs the image in {_FILE_COLUMNS[0]} "
        f"and its caption in {_TEXT_COLUMNS[0]}; correct the file, or remove it."
    )
    return (problem,)
