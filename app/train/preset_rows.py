"""The choice of a preset on the Train tab, and of the rows that it is composed of."""

from collections.abc import Iterable
from typing import Any

import gradio as gr

from app.train import text
from app.ui.markup import Markup, note
from trainer.config import (
    Choice,
    list_care,
    list_choices,
    list_goals,
    list_kinds,
    list_memories,
    list_presets,
)
from trainer.config.presets import STARTER

ROWS = ("kind", "goal", "memory", "care")


def build_rows(choice: Choice, names: Iterable[str]) -> dict[str, Any]:
    """Builds a small choice for some rows; the browser names the preset (`js/presets.js`)."""
    choices = {
        "kind": [(text.STARTER, STARTER), *((title, key) for key, title in list_kinds().items())],
        "goal": [(title, key) for key, title in list_goals().items()],
        "memory": [(f"{size} GB", str(size)) for size in list_memories()],
        "care": [(key.capitalize(), key) for key in list_care()],
    }
    return {
        name: (gr.Radio if name == "goal" else gr.Dropdown)(
            choices=choices[name], value=str(getattr(choice, name)), label=text.ROWS[name],
            elem_id=f"train-preset-{name}", min_width=100,
        )
        for name in names
    }  # fmt: skip


def describe_rows(preset: str) -> dict[str, str]:
    """Returns the rows of a preset, as far as it has any; one that is a file has few or none."""
    choice = list_choices().get(preset)
    if choice:
        return {name: str(getattr(choice, name)) for name in ROWS}
    if preset.startswith(STARTER):
        goal = "character" if preset.endswith("character") else "style"
        return {"kind": STARTER, "goal": goal}
    return {}


def describe_preset(preset: str) -> Markup:
    """Returns what a preset is for."""
    about = list_presets().get(preset, text.DEFAULTS_NOTE)
    return note(text.preset_line(preset or text.DEFAULTS, about))


def list_preset_choices() -> list[tuple[str, Any]]:
    """Returns the names of all presets for a list, with the defaults first."""
    return [(text.DEFAULTS, ""), *((name, name) for name in list_presets())]
