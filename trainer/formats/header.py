"""The header of a safetensors file, checked before anything else of the file is believed.

A file is eight bytes (the header's length, little-endian), the header (JSON: name → number
format, shape, byte range), and the body. Reading costs no more memory than the header.
"""

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_tools.bounded_json import NotJsonError, UnreadableError, parse_json
from datasets_tools.errors import LorasmithError
from datasets_tools.files import explain_os_error
from trainer.formats.precision import BY_CODE

_LONGEST_HEADER = 100_000_000  # the safetensors library's own limit, in bytes
_LONGEST_METADATA = 16 * 1024**2
_PIECE_BYTES = 8 * 1024**2
_AGAIN = "Download or export the file again."
_SNIFFED_BYTES = 256
_PAGE = (
    "a web page, as a site sends it instead of a file where a login is needed or the address is "
    "wrong. Download it in the browser."
)
_PICKLE = (
    "a pickle under another name, which can run code when it is read. Download the safetensors "
    "version, or convert it in a program that you trust."
)
_POINTER = (
    "a git-lfs pointer, the note that a repository holds instead of the file. Run `git lfs pull` "
    "there, or download the file itself."
)
# How files begin that only have the name of a safetensors file.
_OTHERS = (
    (b"<!doctype", _PAGE),
    (b"<html", _PAGE),
    (b"<?xml", _PAGE),
    (b"<head", _PAGE),
    (b"version https://git-lfs", _POINTER),
    (b"pk\x03\x04", "a zip archive. Unpack it first."),
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"gguf", "a GGUF file. Download the safetensors version."),
    (b"{", "the answer of a site as JSON instead of a file. Download it in the browser."),
)


class FormatError(LorasmithError):
    """A file that is not what its name promises; the message is a complete sentence."""


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies.

    Attributes:
        dtype: The number format as the header spells it: "F16", "BF16", "F32", "I64" …
        shape: Sizes of the axes.
        start: First byte, counted from the body's start.
        end: The byte after the last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class TensorFile:
    """The content of a file's header, after its checks.

    Attributes:
        path: The file.
        tensors: Every tensor, by name.
        metadata: The free text entries.
        body_start: First byte of the body, counted from the file's start.
    """

    path: Path
    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    body_start: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, by name."""
        return {name: entry.shape for name, entry in self.tensors.items()}

    def read_body(self) -> Iterator[bytes]:
        """Yields the body in pieces.

        Raises:
            OSError: From the system.
        """
        with self.path.open("rb") as file:
            file.seek(self.body_start)
            while piece := file.read(_PIECE_BYTES):
                yield piece


def read_header(path: Path) -> TensorFile:
    """Returns the checked header of a safetensors file.

    Raises:
        FormatError: the file cannot be read, is cut short, or its header does not fit it.
    """
    text, body_start, size = _read_text(path)
    try:
        header = parse_json(text, make_table=_refuse_twins)
    except _TwinError as error:
        msg = f"{path.name} is damaged: its header names {error} twice. {_AGAIN}"
        raise FormatError(msg) from None
    except UnreadableError as error:
        what = "not JSON" if isinstance(error, NotJsonError) else f"damaged ({error})"
        msg = f"{path.name} is not a safetensors file: its header is {what}. {_AGAIN}"
        raise FormatError(msg) from None
    if not isinstance(header, dict):
        msg = f"{path.name} is not a safetensors file: its header is not a table. {_AGAIN}"
        raise FormatError(msg)
    metadata = _read_metadata(path, header.pop("__metadata__", {}))
    tensors = {name: _read_entry(path, name, entry) for name, entry in header.items()}
    _check_body(path, tensors, size - body_start)
    return TensorFile(path, tensors, metadata, body_start)


def _read_text(path: Path) -> tuple[bytes, int, int]:
    """Returns the header's bytes, where the body starts and the file's size."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(_SNIFFED_BYTES)
            length = int.from_bytes(start[:8], "little")
            # The length of a real header can begin with the same bytes as another kind of file.
            whole = size >= 8 and length <= min(size - 8, _LONGEST_HEADER)
            if not whole and (what := _name_other(start)):
                msg = f"{path.name} is not a safetensors file: it is {what}"
                raise FormatError(msg)
            file.seek(8)
            if size < 8:
                msg = f"{path.name} is cut short: it has only {size} bytes. {_AGAIN}"
                raise FormatError(msg)
            if length > size - 8 or length > _LONGEST_HEADER:
                msg = (
                    f"{path.name} is not a whole safetensors file: it announces a header of "
                    f"{length:,} bytes and has {size:,} bytes in all. {_AGAIN}"
                )
                raise FormatError(msg)
            return file.read(length), 8 + length, size
    except OSError as error:
        msg = f"{path} cannot be read: {explain_os_error(error)}"
        raise FormatError(msg) from None


def _name_other(start: bytes) -> str:
    """Returns what a file is that only has the name of a safetensors file, and what to do."""
    if start.startswith(b"PK") and b"data.pkl" in start:  # how PyTorch packs its files
        return _PICKLE
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((what for mark, what in _OTHERS if text.startswith(mark)), "")


class _TwinError(LorasmithError):
    """The name that an object of the header holds twice."""


def _refuse_twins(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _TwinError(next(name for name in table if counts[name] > 1))
    return table


def _read_metadata(path: Path, metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        msg = f"{path.name} is damaged: its metadata is not a table of texts. {_AGAIN}"
        raise FormatError(msg)
    length = sum(len(key) + len(value) for key, value in metadata.items())
    if length > _LONGEST_METADATA:
        msg = (
            f"{path.name} has {length:,} letters of metadata, more than the {_LONGEST_METADATA:,} "
            "that are read. Have the program that wrote it leave out its tables or images."
        )
        raise FormatError(msg)
    return metadata


def _read_entry(path: Path, name: str, entry: object) -> TensorEntry:
    """Returns one tensor's entry, whose bytes fit its shape."""
    dtype = entry.get("dtype") if isinstance(entry, dict) else None
    shape = _read_counts(entry, "shape")
    span = _read_counts(entry, "data_offsets")
    if not isinstance(dtype, str) or shape is None or span is None or len(span) != 2:
        msg = f"{path.name} is damaged: the header's entry for {name} is malformed. {_AGAIN}"
        raise FormatError(msg)
    if dtype not in BY_CODE:
        msg = (
            f"{path.name} holds {name} in the number format {dtype}, which is not supported. "
            "Use a file in fp32, fp16 or bf16."
        )
        raise FormatError(msg)
    expected = math.prod(shape) * BY_CODE[dtype].bytes
    if span[1] - span[0] != expected:
        msg = (
            f"{path.name} is damaged: {name} needs {expected:,} bytes for its shape "
            f"{list(shape)} and has {span[1] - span[0]:,}. {_AGAIN}"
        )
        raise FormatError(msg)
    return TensorEntry(dtype, shape, span[0], span[1])


def _read_counts(entry: object, field: str) -> tuple[int, ...] | None:
    """Returns a list of whole numbers from 0 on, or None where it is something else."""
    counts = entry.get(field) if isinstance(entry, dict) else None
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        return None
    return tuple(counts)


def _check_body(path: Path, tensors: dict[str, TensorEntry], size: int) -> None:
    """The tensors must cover the body, one after the other, without overlap or gap."""
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.end > size:
            msg = (
                f"{path.name} is cut short: {name} ends at byte {entry.end:,} of the body, "
                f"which has {size:,}. {_AGAIN}"
            )
            raise FormatError(msg)
        if entry.start != end:
            fault = "overlaps the tensor before it" if entry.start < end else "comes after a gap"
            msg = f"{path.name} is damaged: {name} {fault}. {_AGAIN}"
            raise FormatError(msg)
        end = entry.end
    if end != size:
        msg = (
            f"{path.name} is damaged: {size - end:,} bytes at its end belong to no tensor. {_AGAIN}"
        )
        raise FormatError(msg)
