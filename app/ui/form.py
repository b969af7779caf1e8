"""From the config model to widgets and back: the form knows no setting by name."""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from gradio.components import Component
from pydantic import BaseModel

from trainer.config import Problem, RunConfig

Kind = Literal["whole", "number", "switch", "choice", "text", "lines", "tables"]
_KINDS: dict[Any, Kind] = {
    int: "whole",
    float: "number",
    bool: "switch",
    str: "text",
    list[str]: "lines",
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

# A number up to this may be a slider of so many steps.
_SLIDER_END, _SLIDER_STEPS = 2, 200


@dataclass(frozen=True)
class FormField:
    """One setting: where it lies in the config, and how it is declared there.

    `span` holds the lowest and the highest value of a number that is bounded on both sides.
    """

    path: str
    kind: Kind
    help: str
    default: Any
    bounds: str = ""
    choices: tuple[str, ...] = ()
    title: str = ""
    span: tuple[float, float] | None = None

    @property
    def section(self) -> str:
        """The table it lies in; "" for the top."""
        return self.path.rpartition(".")[0]

    @property
    def label(self) -> str:
        """The setting's title, else its name as a person reads it."""
        name = self.path.rpartition(".")[2].replace("_", " ")
        return self.title or name[:1].upper() + name[1:]

    @property
    def info(self) -> str:
        """The help with the bounds, as it stands under the label."""
        return f"{self.help} ({self.bounds})" if self.bounds else self.help

    @property
    def element_id(self) -> str:
        """The widget's id in the page."""
        return "setting-" + self.path.replace(".", "-").replace("_", "-")


@dataclass(frozen=True)
class Form:
    """The settings of the form in their order, without those that the page asks elsewhere."""

    fields: tuple[FormField, ...]

    @cached_property
    def paths(self) -> list[str]:
        """The settings' paths in the order of the widgets."""
        return [field.path for field in self.fields]

    def to_values(self, config: BaseModel) -> dict[str, Any]:
        """Returns what the widgets show for a config, by the settings' paths."""
        return {field.path: _to_widget(field, _read(config, field.path)) for field in self.fields}

    def to_defaults(self) -> dict[str, Any]:
        """Returns what the widgets show before anybody has typed, by the settings' paths."""
        return {field.path: _to_widget(field, field.default) for field in self.fields}

    def to_tree(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the plain dict that the widgets' values, by path, stand for.

        Nothing is judged here: what cannot be the setting's type goes on as it is, and the
        config model names it.
        """
        tree: dict[str, Any] = {}
        for field in self.fields:
            if field.path in values:
                put(tree, field.path, _from_widget(field, values[field.path]))
        return tree

    def explain(self, problems: Iterable[Problem]) -> dict[str, str]:
        """Returns the help of each setting, with what is wrong with it in front."""
        wrong: dict[str, str] = {}
        for problem in problems:
            place = next((path for path in self.paths if _covers(path, problem.path)), None)
            if place is not None:
                wrong[place] = problem.message
        return {
            field.path: f"✕ {wrong[field.path]} — {field.info}"
            if field.path in wrong
            else field.info
            for field in self.fields
        }


def make_form(model: type[BaseModel] = RunConfig, without: Iterable[str] = ()) -> Form:
    """Returns the form of a config model, section after section."""
    left_out = set(without)
    return Form(tuple(field for field in _list_fields(model, "") if field.path not in left_out))


def build_widget(
    field: FormField,
    value: Any = None,
    *,
    element_id: str = "",
    labels: Mapping[str, str] | None = None,
    sliders: bool = False,
) -> Component:
    """Returns the widget of a setting, inside the current block.

    Args:
        field: The setting.
        value: What it shows first; None for the default.
        element_id: Its id in the page; "" for the field's own.
        labels: What its choices are called; those that are missing have their own name.
        sliders: A number between two bounds that are near to each other is a slider.
    """
    shown = _to_widget(field, field.default if value is None else value)
    common = {
        "label": field.label,
        "info": field.info,
        "value": shown,
        "elem_id": element_id or field.element_id,
        "elem_classes": "setting",
        "min_width": 260,
    }
    if sliders and field.kind == "number" and field.span and field.span[1] <= _SLIDER_END:
        common["info"] = field.help  # its ends show the bounds
        return gr.Slider(*field.span, step=field.span[1] / _SLIDER_STEPS, **common)
    if field.kind in {"whole", "number"}:
        # Gradio's own minimum, maximum and precision are left out: it would round 2.5 to 2, and
        # refuse 9999 with a message that does not name the box.
        return gr.Number(step=_choose_step(field), **common)
    if field.kind == "switch":
        return gr.Checkbox(**common)
    if field.kind == "choice":
        named = [((labels or {}).get(choice, choice), choice) for choice in field.choices]
        return gr.Dropdown(choices=named, filterable=False, **common)
    rows = {"lines": 4, "tables": 2}
    return gr.Textbox(lines=rows.get(field.kind, 1), **common)


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Puts a value into a nested dict by its dotted path."""
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[name] = value


def _list_fields(model: type[BaseModel], prefix: str) -> Iterable[FormField]:
    for name, info in model.model_fields.items():
        path, annotation = f"{prefix}{name}", info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _list_fields(annotation, f"{path}.")
            continue
        choices: tuple[str, ...] = ()
        if get_origin(annotation) is Literal:
            choices = get_args(annotation)
            if len(choices) == 1:
                continue  # nothing to choose
            kind: Kind = "choice"
        elif _is_list_of_tables(annotation):
            kind = "tables"
        elif annotation in _KINDS:
            kind = _KINDS[annotation]
        else:
            msg = f"{path} has the type {annotation}, for which app/ui/form.py has no widget."
            raise TypeError(msg)
        limits = {
            name: getattr(one, name) for name in _BOUNDS for one in info.metadata
            if hasattr(one, name)
        }  # fmt: skip
        yield FormField(
            path,
            kind,
            info.description or "",
            info.get_default(call_default_factory=True),
            ", ".join(f"{_BOUNDS[name]} {limit}" for name, limit in limits.items()),
            choices,
            info.title or "",
            _find_span(limits),
        )


def _find_span(limits: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns the lowest and the highest value of a slider, where there are both."""
    low, high = limits.get("ge", limits.get("gt")), limits.get("le")
    if low is None or high is None:
        return None
    return (low + high / _SLIDER_STEPS if "gt" in limits else low, high)


def _choose_step(field: FormField) -> float:
    """Returns how far one press of an arrow key moves: a tenth of the default's size."""
    if field.kind == "whole":
        return 1
    size = float(abs(field.default)) or 0.1
    return float(f"{10.0 ** (math.floor(math.log10(size)) - 1):.0e}")


def _read(config: BaseModel, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _is_list_of_tables(annotation: Any) -> bool:
    inside = get_args(annotation)[0] if get_origin(annotation) is list else None
    return isinstance(inside, type) and issubclass(inside, BaseModel)


def _to_widget(field: FormField, value: Any) -> Any:
    if field.kind == "tables":
        return "\n".join(map(_write_table, value))
    return "\n".join(value) if field.kind == "lines" else value


def _write_table(table: BaseModel) -> str:
    """Returns what of a small table is not its default, as TOML on one line."""
    set_here = table.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in set_here.items())


def _read_table(line: str) -> Any:
    """Returns the small table of a line; what is none goes on as it is."""
    try:
        return tomllib.loads(f"table = {{{line.strip().strip('{},')}}}")["table"]
    except (ValueError, RecursionError):
        return line


def _from_widget(field: FormField, value: Any) -> Any:
    if field.kind == "lines":
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]
    if field.kind == "tables":
        return [_read_table(line) for line in str(value or "").splitlines() if line.strip()]
    if field.kind == "text":
        return value or ""
    if field.kind == "whole" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _covers(path: str, problem: str) -> bool:
    return problem == path or problem.startswith(f"{path}.")
