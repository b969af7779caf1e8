"""Reading JSON that anybody may have written: bounds on size and depth, and one error.

Python's reader raises four kinds of errors, accepts half of a surrogate pair, which no file can be
written with again, and takes any size.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets_tools.disk import read_bytes
from datasets_tools.errors import LorasmithError

MOST_BYTES = 16 * 1024**2
MOST_LEVELS = 64


class UnreadableError(LorasmithError, ValueError):
    """A text that is not JSON within the bounds; the message states what is wrong, without end."""


class NotJsonError(UnreadableError):
    """A text that is not JSON at all."""


def parse_json(
    data: bytes | str,
    levels: int = MOST_LEVELS,
    make_table: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Returns the value of a JSON text.

    Args:
        data: The text, or its bytes in UTF-8.
        levels: How deep tables and lists may be nested.
        make_table: Makes a table of its rows; None takes the last of two rows of a name.

    Raises:
        NotJsonError: it is not JSON, or has a number of thousands of digits.
        UnreadableError: it is nested too deeply, has a number of thousands of digits, or
            half of a surrogate pair.
    """
    try:
        content = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(content, object_pairs_hook=make_table)
        _check_depth(value, levels)
        if r"\ud" in content or r"\uD" in content or isinstance(data, str):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise UnreadableError("it holds what is not Unicode text") from None
    except RecursionError:
        raise UnreadableError(f"it is nested more than {levels} levels deep") from None
    except ValueError as error:
        if isinstance(error, UnreadableError):
            raise
        raise NotJsonError("it is not JSON") from None
    return value


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """Returns the value of a JSON file that another process may be replacing at this moment.

    Args:
        path: The file.
        most: Its largest size in bytes.

    Raises:
        OSError: From the system.
        UnreadableError: as `parse_json`, or the file is larger.
    """
    data = read_bytes(path, most + 1)
    if len(data) > most:
        raise UnreadableError(f"it has more than {most:,} bytes")
    return parse_json(data)


def read_table(path: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """Returns the table of a JSON file.

    Raises:
        OSError, UnreadableError: as `read_json`, or it is no table.
    """
    value = read_json(path, most)
    if not isinstance(value, dict):
        raise UnreadableError("it is not a table")
    return value


def _check_depth(value: Any, levels: int) -> None:
    """Raises UnreadableError where a value is nested too deeply; it does not recurse itself."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return
    raise UnreadableError(f"it is nested more than {levels} levels deep")
