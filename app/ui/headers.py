"""The header of a LoRA file as HTML, in the Library and before it is written."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.jobs import Job
from app.ui import headers_text as words
from app.ui.markup import Markup, element, join, note

_TAG_COUNTS = "ss_tag_frequency"
_LONGEST = 160
_TAGS_SHOWN = 8


def describe_header(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns name and value of each entry, long ones cut."""
    return [(name, _show(name, value)) for name, value in sorted(metadata.items())]


def make_header_table(
    heading: str, pairs: Sequence[tuple[str, str]], *, folded: bool = False
) -> Markup:
    """Returns the entries of a header, one a row; `folded` shows them when they are asked for."""
    if not pairs:
        return element("p", words.NO_HEADER, class_="quiet")
    head = element(
        "tr", element("th", words.NAME, scope="col"), element("th", words.VALUE, scope="col")
    )
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value))
        for name, value in pairs
    ]
    table = element("table", head, *rows, class_="plain header")
    box = element("div", table, class_="scroll tall", tabindex=0, role="region", aria_label=heading)
    if folded:
        return element("details", element("summary", words.folded(heading, len(pairs))), box)
    return join(element("h4", heading), box)


def make_future_header(job: Job) -> Markup:
    """Returns the header as it would be written, or how far it is."""
    if job.state == "none":
        return Markup("")
    if job.state == "running":
        return element("p", words.LOOKING, class_="quiet", role="status", data_state="running")
    if job.state == "failed" or not isinstance(job.answer, dict):
        told = note(words.failed(job.message), "error")
        return element("div", told, data_state="failed")
    entries = {str(name): str(value) for name, value in job.answer.items()}
    table = make_header_table(words.WILL_HEADING, describe_header(entries))
    return element("div", table, data_state="done")


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
