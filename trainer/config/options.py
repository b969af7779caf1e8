"""The settings of a command that is no run, and their declarations beyond type and bounds.

An option is a field of a pydantic model, as a setting of a run is. The app's form, the command's
options, the recipe that the app keeps and the reference in `docs/` derive from it.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainer.config.errors import ConfigError, explain_validation
from trainer.config.section import Section

Extra = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


class Options(Section):
    """The settings of one command."""

    def list_used(self) -> list[str]:
        """Returns the names of the settings that these values make use of."""
        return list_used(type(self), self.model_dump())

    def to_arguments(self) -> list[str]:
        """Returns the settings in use as arguments of the command, without those left empty."""
        places: list[str] = []
        options: list[str] = []
        for name in self.list_used():
            value = getattr(self, name)
            if get_argument_name(type(self).model_fields[name]):
                places += value if isinstance(value, list) else [value]
            elif isinstance(value, bool):
                options += [get_option_name(name)] if value else []
            elif value != "":
                shown = f"{value:.10g}" if isinstance(value, float) else str(value)
                options.append(f"{get_option_name(name)}={shown}")
        return [*places, *options]


def used_with(**values: tuple[str, ...]) -> Extra:
    """Returns a field's `json_schema_extra`: it is used where others have one of these values."""
    return {"used_with": values}


def as_argument(name: str) -> Extra:
    """Returns a field's `json_schema_extra`: on the command line it stands without an option."""
    return {"argument": name}


def get_used_with(field: FieldInfo) -> Mapping[str, tuple[str, ...]]:
    """Returns the values that other settings must have for this one to be used."""
    values: Mapping[str, tuple[str, ...]] = _get_extra(field).get("used_with", {})
    return values


def get_argument_name(field: FieldInfo) -> str:
    """Returns what the command line calls a setting without an option; "" for all others."""
    return str(_get_extra(field).get("argument", ""))


def get_option_name(name: str) -> str:
    """Returns the option of a setting."""
    return f"--{name.replace('_', '-')}"


def list_used(model: type[BaseModel], values: Mapping[str, object]) -> list[str]:
    """Returns the names of the settings that are used, given the values of those that decide.

    Args:
        model: The settings' model.
        values: By name; what is missing has its default.
    """
    fields = model.model_fields

    def has(name: str, allowed: tuple[str, ...]) -> bool:
        return values.get(name, fields[name].default) in allowed

    return [
        name
        for name, field in fields.items()
        if all(has(other, allowed) for other, allowed in get_used_with(field).items())
    ]


def make_options(model: type[Model], values: Mapping[str, object]) -> Model:
    """Returns checked settings.

    Raises:
        ConfigError: all that is wrong with them.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain_validation(error, model)) from None


def _get_extra(field: FieldInfo) -> Extra:
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) else {}
