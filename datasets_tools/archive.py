"""Unpacking a zip archive of strangers: its files arrive in a folder, or nothing does.

Names that lead out of the folder, links, passwords, and archives that unpack to many times their
size are refused before anything is written, and sizes are counted again while it is. An archive
inside stays packed, and is left for the list of what is not used.
"""

import contextlib
import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from datasets_tools.errors import LONGEST_SHOWN_NAME, DatasetError, show_name
from datasets_tools.files import explain_os_error
from datasets_tools.names import change_name

MOST_FILES = 20_000
MOST_BYTES = 4 * 1024**3
LARGEST_RATIO = 100  # images hardly shrink; a bomb grows a thousandfold
BOMB_BYTES = 256 * 1024**2  # below this any ratio is harmless

_BLOCK = 1024**2
_DRIVE = re.compile(r"[A-Za-z]:")
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")


def is_zip(path: Path) -> bool:
    """Return whether a file is meant to be a zip archive, by its name or its first bytes."""
    if path.suffix.lower() == ".zip":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\3\4"
    except OSError:
        return False


def unpack_zip(path: Path, folder: Path, most_bytes: int = MOST_BYTES) -> list[tuple[str, Path]]:
    """Unpack an archive into an empty folder; return each file's name inside and where it is now.

    Raises:
        DatasetError: It is damaged, locked, too large, or not safe; the message states which.
    """
    name = show_name(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _list_entries(archive, name)
            _check_size(entries, path.stat().st_size, name, most_bytes)
            return _write_entries(archive, entries, folder, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise DatasetError(
            f"{name} is no zip archive that can be unpacked: it is damaged, cut short or of a rare "
            "kind. Pack it again as a plain zip file. Nothing of it was added."
        ) from error
    except RuntimeError as error:  # zipfile's error for a password
        raise _refuse(name, "it is locked with a password", "Unpack it yourself") from error
    except OSError as error:
        message = f"{name} could not be unpacked: {explain_os_error(error)}"
        raise DatasetError(message) from error


def _list_entries(archive: zipfile.ZipFile, name: str) -> list[tuple[str, zipfile.ZipInfo]]:
    """Return the files in an archive with their names, all of which are safe."""
    infos = archive.infolist()
    if len(infos) > MOST_FILES:
        raise _refuse(name, f"it has more than {MOST_FILES:,} files", "Pack fewer")
    entries = []
    for info in infos:
        inside = _read_name(info)
        parts = inside.split("/")
        shown = "".join(char if char.isprintable() else "?" for char in inside)
        shown = shown[:LONGEST_SHOWN_NAME]
        if inside.startswith("/") or ".." in parts or _DRIVE.match(inside):
            raise _refuse(name, f"“{shown}” in it leads out of it", "Pack the folder again")
        if info.flag_bits & _ENCRYPTED_FLAG:
            raise _refuse(name, "it is locked with a password", "Unpack it yourself")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _refuse(name, f"“{shown}” in it is a link", "Pack the files themselves")
        hidden = any(part.startswith(".") or part in _HIDDEN for part in parts)
        if not inside.endswith("/") and not hidden:
            entries.append((inside, info))
    return entries


def _check_size(
    entries: list[tuple[str, zipfile.ZipInfo]], packed: int, name: str, most_bytes: int
) -> None:
    total = sum(info.file_size for _, info in entries)
    if total > most_bytes:
        size = f"{most_bytes / 1024**3:g} GB"
        raise _refuse(name, f"it unpacks to more than {size}", "Pack fewer images")
    if total > BOMB_BYTES and total > packed * LARGEST_RATIO:
        reason = f"it unpacks to more than {LARGEST_RATIO} times its size, as no images do"
        raise _refuse(name, reason, "Pack the images again")


def _write_entries(
    archive: zipfile.ZipFile, entries: list[tuple[str, zipfile.ZipInfo]], folder: Path, name: str
) -> list[tuple[str, Path]]:
    """Write each file into a folder of its own, so that no name in the archive becomes a path."""
    written = []
    for number, (inside, info) in enumerate(entries):
        path = folder / str(number) / change_name(PurePosixPath(inside).name, "file")
        path.parent.mkdir()
        left = info.file_size
        with archive.open(info) as source, path.open("xb") as target:
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    reason = "a file in it is larger than it claims"
                    raise _refuse(name, reason, "Pack the images again")
                target.write(block)
        written.append((inside, path))
    return written


def _read_name(info: zipfile.ZipInfo) -> str:
    """Return a file's name inside, with slashes; old programs write it in other encodings."""
    name = info.filename
    if not info.flag_bits & _UTF8_FLAG:
        # zipfile has read the bytes as code page 437. In another one letters look odd, but the
        # same in all names.
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/").removeprefix("./")


def _refuse(name: str, reason: str, remedy: str) -> DatasetError:
    return DatasetError(f"{name} was not unpacked: {reason}. {remedy}, then add it again.")
