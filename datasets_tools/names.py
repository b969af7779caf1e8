"""Names of files and folders that every system can have.

Windows refuses some letters, a dot or blank at the end, and the names of devices. A dataset, a run
or a LoRA file that has such a name cannot be copied there, so it is refused or changed on each
system alike. Every place that makes a name of what a person typed or uploaded asks here.
"""

import re
import sys
from pathlib import Path

from datasets_tools.errors import show_name

LONGEST_PATH = 259  # letters; Windows counts a zero behind them as the 260th
LONGEST_NAME = 255  # bytes on Linux, UTF-16 units on Windows

# / and \ part folders; the others are wildcards, streams and redirections.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.I | re.S)
_AT_THE_END = ". "


def explain_name(name: str) -> str:
    """Returns a sentence why no file or folder should have a name; "" where it may."""
    reason = _find_reason(name)
    if not reason:
        return ""
    shown = show_name(Path(name)) if name.strip() else ""
    return f"“{shown}” cannot be the name of a file or folder: {reason}. Choose another name."


def explain_path(path: Path, beyond: int = 0, system: str = sys.platform) -> str:
    """Returns a sentence why a file or folder cannot be made at a path; "" where it can.

    The name is looked at, and those of the folders above that do not exist yet.

    Args:
        path: What is to be made.
        beyond: How many letters the paths below it add.
        system: As in `sys.platform`; only Windows limits the length.
    """
    for part in (path, *path.parents):
        if part.name in {"", ".."} or (part != path and part.exists()):
            continue
        if problem := explain_name(part.name):
            return problem
    length = len(str(path.absolute())) + beyond
    if system == "win32" and length > LONGEST_PATH:
        return (
            f"The path of {show_name(path)} is too long: with the files in it it has {length} "
            f"letters, and Windows allows {LONGEST_PATH}. Choose a shorter name, or a workspace "
            "with a shorter path."
        )
    return ""


def change_name(name: str, fallback: str) -> str:
    """Returns a name that every system can have; one that is fit already is not changed.

    Args:
        name: Without folders.
        fallback: The name where nothing is left, and what is put before the name of a device.
    """
    changed = _FORBIDDEN.sub("-", name)
    stem, dot, ending = changed.rpartition(".")
    if len(changed.encode()) > LONGEST_NAME:
        length = LONGEST_NAME - len(f"{dot}{ending}".encode())
        if stem and length > 0:
            changed = _cut(stem, length) + dot + ending
        else:
            changed = _cut(changed, LONGEST_NAME)
    changed = changed.rstrip(_AT_THE_END)
    if _DEVICE.fullmatch(changed):
        return change_name(f"{fallback}-{changed}", fallback)
    return changed or fallback


def _find_reason(name: str) -> str:
    if not name.strip(_AT_THE_END):
        return "it has no letters"
    if match := _FORBIDDEN.search(name):
        letter = f"“{match[0]}”" if match[0].isprintable() else "a control character"
        return f"it contains {letter}, which Windows allows in no name"
    if name[-1] in _AT_THE_END:
        return "it ends in a dot or blank, which Windows leaves out"
    if _DEVICE.fullmatch(name):
        return "Windows has a device of that name"
    if len(name.encode()) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} bytes"
    return ""


def _cut(text: str, most: int) -> str:
    """Returns the start of a text that fits into so many bytes of UTF-8."""
    return text.encode()[:most].decode("utf-8", "ignore")
