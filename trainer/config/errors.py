"""All problems of a config in one error: where, what is wrong, what is allowed."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from datasets_tools.errors import LorasmithError


@dataclass(frozen=True)
class Problem:
    """One wrong setting: its dotted path and a sentence."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(LorasmithError, ValueError):
    """A config that cannot be used; `problems` lists every reason."""

    def __init__(self, problems: Sequence[Problem], source: str = "") -> None:
        self.problems = list(problems)
        self.source = source
        head = f"{source}: " if source else ""
        count = len(self.problems)
        noun = "setting is" if count == 1 else "settings are"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{head}{count} {noun} wrong:\n{lines}")


def explain_validation(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Turns pydantic's findings into sentences with the allowed range or the nearest name."""
    return [
        Problem(".".join(str(part) for part in detail["loc"]), _explain(detail, model))
        for detail in error.errors(include_url=False)
    ]


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _explain_unknown([str(part) for part in detail["loc"]], model)
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind == "literal_error":
        return f"{_shorten(value)} is not allowed; choose {context['expected']}"
    if kind == "string_pattern_mismatch":
        field = _find_field(model, [str(part) for part in detail["loc"]])
        allowed = field.rstrip(".") if field else context["pattern"]
        return f"{_shorten(value)} is not allowed; {allowed}"
    requirement = detail["msg"].replace("Input should be ", "must be ").replace("Input ", "")
    return f"{requirement[0].lower()}{requirement[1:]}, but is {_shorten(value)}"


def _explain_unknown(path: list[str], model: type[BaseModel]) -> str:
    parent = _find_model(model, path[:-1])
    names = list(parent.model_fields) if parent else []
    elsewhere = [
        f"{section}.{path[-1]}"
        for section, field in model.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
        and path[-1] in field.annotation.model_fields
    ]
    if elsewhere:
        return f"unknown setting; did you mean {elsewhere[0]}?"
    near = difflib.get_close_matches(path[-1], names, n=1, cutoff=0.5)
    if near:
        return f"unknown setting; did you mean {'.'.join([*path[:-1], near[0]])}?"
    return f"unknown setting; known here: {', '.join(names)}"


def _find_model(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    for part in path:
        field = model.model_fields.get(part)
        annotation: Any = field.annotation if field else model if part.isdigit() else None
        if get_origin(annotation) is list:
            annotation = get_args(annotation)[0]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        model = annotation
    return model


def _find_field(model: type[BaseModel], path: list[str]) -> str:
    parent = _find_model(model, path[:-1])
    field = parent.model_fields.get(path[-1]) if parent else None
    return (field.description or "") if field else ""


def _shorten(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= 80 else f"{text[:77]}..."
