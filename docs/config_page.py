"""The settings pages: every field of the config models, with type, default, bounds and help."""

import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from datasets_tools.captioners.options import CaptionOptions
from trainer.config import COMBINE_OPTIONS, RunConfig

TYPE_NAMES: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}
BOUND_FORMS = {
    "ge": "≥ {}",
    "gt": "> {}",
    "le": "≤ {}",
    "lt": "< {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "`{}`",
}


def render_config() -> str:
    """Returns the reference of every setting, from the config model."""
    intro = (
        "A setting is named by its dotted path: in `config.toml` the part before the dot is the "
        "table, on the command line it is `--set train.steps=500`. A setting that is left out has "
        "its default."
    )
    lines = ["# Settings", "", intro, ""]
    lines += _render_section(RunConfig, prefix="", values=_build_default(RunConfig), level=2)
    return "\n".join(lines).rstrip() + "\n"


def render_options(commands: Mapping[str, type[BaseModel]] | None = None) -> str:
    """Returns the reference of the settings of commands that are no runs.

    Args:
        commands: The settings' models by the command's name; None for all there are.
    """
    intro = (
        "The settings of captioning and of combining files: in the app they are fields of a form, "
        "on the command line options (`majority_sign` is `--majority-sign`). A share is a number "
        "from 0 to 1 in both; a base model is one of the list in the app, and a folder, a file or "
        "a hub id on the command line. [Commands](cli-reference.md) has what else a command takes."
    )
    lines = ["# Settings of commands", "", intro, ""]
    for name, model in (commands or {"caption": CaptionOptions, **COMBINE_OPTIONS}).items():
        lines += [f"## {name}", "", clean_cell(_get_summary(model)), ""]
        lines += _render_section(model, prefix="", values=None, level=3)
    return "\n".join(lines).rstrip() + "\n"


def _render_section(model: type[BaseModel], prefix: str, values: Any, level: int) -> list[str]:
    """Returns the table of one section's own settings, then its sub-sections."""
    rows, subsections = [], []
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        default = _get_default(field, values, name)
        variants = _list_models(field.annotation)
        if variants:
            subsections += _render_subsection(path, field, variants, default, level)
        else:
            cells = [f"`{path}`", _describe_type(field.annotation), format_value(default)]
            cells += [_describe_bounds(field), clean_cell(field.description)]
            rows.append(f"| {' | '.join(cells)} |")
    head = ["| setting | type | default | allowed | what it does |", "|---|---|---|---|---|"]
    return ([*head, *rows, ""] if rows else []) + subsections


def _render_subsection(
    path: str, field: FieldInfo, variants: list[type[BaseModel]], default: Any, level: int
) -> list[str]:
    mark = "#" * level
    text = field.description or (_get_summary(variants[0]) if len(variants) == 1 else "")
    lines = [f"{mark} {path}", ""]
    lines += [clean_cell(text), ""] if text else []
    prefix = f"{path}."
    if len(variants) == 1:
        return lines + _render_section(variants[0], prefix, default, level + 1)
    for variant in variants:
        kind = _get_kind(variant)
        chosen = isinstance(default, variant)
        lines += [f"{mark}# {path}, kind = `{kind}`{' (default)' if chosen else ''}", ""]
        lines += [clean_cell(_get_summary(variant)), ""]
        values = default if chosen else _build_default(variant)
        lines += _render_section(variant, prefix, values, level + 2)
    return lines


def _list_models(annotation: Any) -> list[type[BaseModel]]:
    """Returns the section models an annotation holds: one, several told apart by kind, or none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin = get_origin(annotation)
    if origin is Annotated:
        return _list_models(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [model for part in get_args(annotation) for model in _list_models(part)]
    return []


def _get_kind(model: type[BaseModel]) -> str:
    return " or ".join(get_args(model.model_fields["kind"].annotation))


def _get_summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n\n")[0]


def _build_default(model: type[BaseModel]) -> Any:
    """Returns the model with all defaults, or None where it has required settings."""
    required = any(field.is_required() for field in model.model_fields.values())
    return None if required else model()


def _get_default(field: FieldInfo, values: Any, name: str) -> Any:
    if isinstance(values, BaseModel):
        return getattr(values, name)
    return field.get_default(call_default_factory=True, validated_data={})


def _describe_type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe_type(parts[0])
    if origin is Literal:
        return "choice"
    if origin in (list, tuple):
        return f"list of {_describe_type(parts[0])}"
    if origin in (Union, types.UnionType):
        return " or ".join(_describe_type(part) for part in parts)
    return TYPE_NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _describe_bounds(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    limits = {
        name: value
        for entry in field.metadata
        for name in BOUND_FORMS
        if (value := getattr(entry, name, None)) is not None
    }
    texts = [form.format(limits[name]) for name, form in BOUND_FORMS.items() if name in limits]
    return clean_cell(", ".join(texts))


def format_value(value: Any) -> str:
    """Returns a value as it is written in a config file, or `required`."""
    if value is PydanticUndefined:
        return "required"
    return f"`{clean_cell(json.dumps(value, ensure_ascii=False, default=str))}`"


def clean_cell(text: str | None) -> str:
    """Returns text fit for one cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")
