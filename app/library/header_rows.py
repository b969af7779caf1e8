"""The header of a LoRA file as a table that a person reads."""

import json
from collections.abc import Mapping
from typing import Any

from app.ui import headers_text as words

_TAG_COUNTS = "ss_tag_frequency"
_LONGEST = 160
_TAGS_SHOWN = 8


def describe_header(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns name and value of each entry, long ones cut."""
    return [(name, _show(name, value)) for name, value in sorted(metadata.items())]


def _show(name: str, value: str) -> str:
    if value.startswith("data:image/"):
        return words.picture(len(value) * 3 // 4)
    tags = _read_tags(value) if name == _TAG_COUNTS else []
    if tags:
        value = ", ".join(f"{tag} ({count})" for tag, count in tags)
    return value if len(value) <= _LONGEST else value[:_LONGEST] + words.and_more(len(value))


def _read_tags(value: str) -> list[tuple[str, int]]:
    """Returns the most frequent tags of all folders; none where the table has another form."""
    try:
        folders: Any = json.loads(value)
    except (ValueError, RecursionError):
        return []
    counted: dict[str, int] = {}
    for tags in folders.values() if isinstance(folders, dict) else ():
        if not isinstance(tags, dict) or not all(type(count) is int for count in tags.values()):
            return []
        for tag, count in tags.items():
            counted[str(tag).strip()] = counted.get(str(tag).strip(), 0) + count
    return sorted(counted.items(), key=lambda pair: -pair[1])[:_TAGS_SHOWN]
