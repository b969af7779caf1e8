"""The presets page: what each preset sets, beside the defaults."""

import tomllib
from collections.abc import Mapping
from typing import Any

from config_page import clean_cell, format_value
from trainer.config import RunConfig, list_presets


def render_presets() -> str:
    """Returns what every preset sets, beside the defaults."""
    defaults = _flatten(RunConfig().model_dump())
    lines = ["# Presets", ""]
    lines += ["A preset sets what is listed; all other settings keep their defaults.", ""]
    for name, path in list_presets().items():
        text = path.read_text(encoding="utf-8")
        settings = _flatten(tomllib.loads(text))
        comment = text.splitlines()[0].removeprefix("#").strip() if text.startswith("#") else ""
        lines += [f"## {name}", "", clean_cell(settings.pop("description", comment)), ""]
        lines += ["| setting | preset | default |", "|---|---|---|"]
        for setting, value in settings.items():
            default = format_value(defaults[setting]) if setting in defaults else ""
            lines.append(f"| `{setting}` | {format_value(value)} | {default} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
