"""Sending to the browser only what has changed since it was last sent."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

# For events that only read, or that only touch small files: they need no queue of their own,
# show no spinner, and are no part of any interface.
QUIET: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}

Seen = dict[str, str]


def paint(seen: Seen, parts: Mapping[str, Any]) -> list[Any]:
    """Returns what to send for each part: its value, or a skip where the browser has it.

    `seen` is one tab's memory of what it was sent, and is brought up to date. It is no state of
    the app: when it is lost, everything is sent once more.
    """
    answers = []
    for name, value in parts.items():
        mark = hashlib.sha256(json.dumps(value, default=_describe).encode()).hexdigest()
        answers.append(gr.skip() if seen.get(name) == mark else value)
        seen[name] = mark
    return answers


def forget(seen: Seen) -> Seen:
    """Returns the memory emptied: after an event that painted past it, all is sent once more."""
    seen.clear()
    return seen


def _describe(value: Any) -> Any:
    if hasattr(value, "to_dict"):  # a table
        return value.to_dict("list")
    return repr(value)
