"""Texts for bug reports, without paths of the person's computer."""

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What is left after the known folders: paths of which only the last part is useful.
_PART = r"[^\s\\/:*?\"'<>|]+"
_PATH = re.compile(rf"(?<![\w.~:/\\])(?:[A-Za-z]:)?(?:[\\/]+{_PART})*[\\/]+{_PART}[\\/]+({_PART})")
# A quoted path may hold blanks.
_QUOTED = re.compile(r"""(["'])(?:[A-Za-z]:|<\w+>)?[\\/][^"'\n]*?([^"'\n\\/]+)\1""")


def remove_paths(value: Any, workspace: Path | None = None) -> Any:
    """Returns a JSON value whose texts hold no folder of the person."""
    return _replace(value, _list_folders(workspace))


def _replace(value: Any, folders: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _replace(each, folders) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replace(each, folders) for each in value]
    return _clean(value, folders) if isinstance(value, str) else value


def _clean(text: str, folders: Mapping[str, str]) -> str:
    for folder, shown in folders.items():
        # As it is, with the other slash, and as Python's repr writes it.
        spellings = {folder, folder.replace("\\", "/"), folder.replace("\\", "\\\\")}
        for spelling in spellings:
            text = re.sub(rf"{re.escape(spelling)}(?!\w)", shown, text, flags=re.IGNORECASE)
    return _PATH.sub(r".../\1", _QUOTED.sub(r"\1.../\2\1", text))


def _list_folders(workspace: Path | None) -> dict[str, str]:
    """Returns what stands for each known folder, the longest paths first."""
    folders = {
        str(Path.home()): "<home>",
        str(Path.cwd()): "<folder>",
        tempfile.gettempdir(): "<temp>",
        sys.prefix: "<python>",
        sys.executable: "python",
        os.path.realpath(sys.executable): "python",
        str(Path(__file__).resolve().parents[2]): "<lorasmith>",
    }
    if workspace is not None:
        folders[str(workspace.absolute())] = "<workspace>"
    used = {path: shown for path, shown in folders.items() if len(path) > 2}
    return dict(sorted(used.items(), key=lambda pair: len(pair[0]), reverse=True))
