"""Reading, layering and writing configs: defaults < preset < file < `--set`."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, ValidationError

from datasets_tools.disk import read_bytes
from datasets_tools.files import explain_os_error
from datasets_tools.text_files import decode_text
from trainer.config.errors import ConfigError, Problem, explain_validation
from trainer.config.presets import compose, list_choices, list_preset_files
from trainer.config.run import RunConfig

_BAD_ESCAPES = ("Unescaped", "Invalid hex value", "Escaped character")  # messages of `tomllib`
_QUOTES = "Write a Windows path in single quotes, 'C:\\cats', as \\ has a meaning in double ones"
_BROKEN_PATH = re.compile(r"([0-9]+ ?x )?[A-Za-z]:[^\n]*?[\x00-\x1f\x7f]")
_MOST_BYTES = 4 * 1024**2
Tree = dict[str, Any]


def read_config(path: Path) -> RunConfig:
    """Returns the config in a TOML file.

    Raises:
        ConfigError: naming every wrong setting, or the line that is not TOML.
    """
    return layer_config(file=path)


def layer_config(
    preset: str = "",
    file: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
) -> RunConfig:
    """Returns defaults overlaid with a preset, a file, a tree of settings and `a.b=value` texts.

    Raises:
        ConfigError: all problems of all layers at once.
    """
    tree: Tree = {}
    if preset:
        _merge(tree, read_preset(preset))
    if file is not None:
        _merge(tree, _read_toml(file))
    if settings:
        _merge(tree, settings)
    for text in assignments:
        _merge(tree, parse_assignment(text))
    return _validate(tree, source=str(file) if file else "")


def change_settings(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Returns a config with some settings changed.

    Args:
        config: A run's settings.
        values: New values by dotted path.

    Raises:
        ConfigError: a value does not suit the others.
    """
    tree = config.model_dump()
    for path, value in values.items():
        _merge(tree, _nest(path.split("."), value))
    return _validate(tree, source="")


def parse_assignment(text: str) -> Tree:
    """Returns the tree for `a.b=value`; the value is TOML, anything else is taken as text."""
    path, equals, raw = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError([Problem("", f"--set {text!r} is not of the form section.name=value")])
    try:
        value: Any = tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):
        value = raw.strip()
    return _nest(keys, value)


def _nest(keys: Sequence[str], value: Any) -> Tree:
    for key in reversed(keys):
        value = {key: value}
    tree: Tree = value
    return tree


def read_preset(name: str) -> Tree:
    """Returns a shipped preset: a partial config."""
    files, choices = list_preset_files(), list_choices()
    if name in choices:
        return compose(choices[name])
    if name in files:
        return _read_toml(files[name])
    near = difflib.get_close_matches(name, [*files, *choices], n=3, cutoff=0.6)
    known = f"; did you mean {' or '.join(near)}?" if near else ""
    message = f"there is no preset {name!r}{known or ';'} `lorasmith presets` lists them"
    raise ConfigError([Problem("", message)])


def config_to_toml(config: RunConfig) -> str:
    """Returns the complete config as TOML, every field with its help as a comment."""
    document = tomlkit.document()
    _write_section(document, config)
    return tomlkit.dumps(document)


def _write_section(table: Any, section: BaseModel) -> None:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            child = tomlkit.table()
            _write_section(child, value)
            table.add(name, child)
            continue
        table.add(tomlkit.comment(field.description or name))
        table.add(name, _write_rows(value) if _holds_sections(value) else value)


def _holds_sections(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(each, BaseModel) for each in value)


def _write_rows(rows: list[BaseModel]) -> Any:
    """Returns small tables on a line each, which may stand before other settings."""
    array = tomlkit.array().multiline(multiline=True)
    for row in rows:
        table = tomlkit.inline_table()
        table.update(row.model_dump())
        array.append(table)
    return array


def _read_toml(path: Path) -> Tree:
    try:
        content = read_bytes(path, _MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            problem = Problem("", f"has more than {_MOST_BYTES:,} bytes, as no config file has")
            raise ConfigError([problem], str(path))
        tree = tomllib.loads(decode_text(content).removeprefix("\ufeff"))
    except FileNotFoundError:
        raise ConfigError([Problem("", "there is no such config file")], str(path)) from None
    except IsADirectoryError:
        raise ConfigError([Problem("", "this is a folder, not a config file")], str(path)) from None
    except UnicodeDecodeError:
        problem = Problem("", "is not UTF-8 text; save it again with the encoding UTF-8")
        raise ConfigError([problem], str(path)) from None
    except RecursionError:
        raise ConfigError([Problem("", "is nested too deeply")], str(path)) from None
    except ValueError as error:  # also of a number with thousands of digits
        remedy = f". {_QUOTES}" if str(error).startswith(_BAD_ESCAPES) else ""
        raise ConfigError([Problem("", f"is not valid TOML: {error}{remedy}")], str(path)) from None
    except OSError as error:
        problem = Problem("", f"cannot be read: {explain_os_error(error)}")
        raise ConfigError([problem], str(path)) from None
    if problems := list(_find_broken_paths(tree, "")):
        raise ConfigError(problems, str(path))
    return tree


def _find_broken_paths(value: Any, place: str) -> Iterator[Problem]:
    """Yields the Windows paths of which TOML has read a part as a line end or a tab."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _find_broken_paths(each, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for each in value:
            yield from _find_broken_paths(each, place)
    elif isinstance(value, str) and _BROKEN_PATH.match(value):
        yield Problem(place, f"holds a control character. {_QUOTES}")


def _merge(tree: Tree, layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def _validate(tree: Tree, source: str) -> RunConfig:
    version = tree.get("version", 1)
    if isinstance(version, int) and version > 1:
        message = f"version {version} was written by a newer Lorasmith; update Lorasmith to read it"
        raise ConfigError([Problem("version", message)], source)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain_validation(error, RunConfig), source) from None
