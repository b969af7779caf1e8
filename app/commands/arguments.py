"""What several commands share: their options, and how those are read."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainer.config import (
    ConfigError,
    Problem,
    RunConfig,
    get_argument_name,
    get_option_name,
    layer_config,
    make_options,
)
from trainer.runs import RunError, RunFolder, open_run
from trainer.runs.base_models import find_base_model
from trainer.runs.workspace import check_workspace, open_workspace

# Where a subject adds its commands; argparse gives this type no public name.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

Model = TypeVar("Model", bound=BaseModel)


class OptionError(ConfigError):
    """What is wrong with the options of a command, on one line."""

    def __str__(self) -> str:
        return " ".join(f"{str(problem).removesuffix('.')}." for problem in self.problems)


BASE_MODEL_HELP = "the base model: a folder, a file or a hub id"
_SETTINGS = (
    "dataset", "base_model", "name", "trigger", "preset", "config", "continue_from", "set",
)  # fmt: skip


def add_command(
    commands: Subparsers, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Adds a command that calls a function; `text` is its help, without a full stop."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(function=function)
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("LORASMITH_WORKSPACE", Path.home() / "lorasmith")),
        help="folder of datasets, runs and models; default LORASMITH_WORKSPACE or ~/lorasmith",
    )
    return parser


def add_options(parser: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """Adds an option for each setting of a model; `read_options` reads them.

    Whatever is typed is taken as text: the model checks it, so that all problems are reported at
    once.
    """
    for name, field in model.model_fields.items():
        place, option, text = (
            get_argument_name(field),
            get_option_name(name),
            _describe_field(field),
        )
        if place and field.annotation == list[str]:
            # With "*" argparse takes none where an option stands between FILE and these.
            parser.add_argument(name, nargs="+", metavar=place, help=text).required = False
        elif place:
            parser.add_argument(name, metavar=place, help=text)
        elif field.annotation is bool:
            parser.add_argument(option, action="store_true", help=text)
        else:
            value, required = _name_value(name, field), field.is_required()
            parser.add_argument(option, metavar=value, required=required, help=text)


def read_options(args: argparse.Namespace, model: type[Model]) -> Model:
    """Returns the settings of `add_options`; raises OptionError with all that is wrong."""
    values = {
        name: _read_value(field, getattr(args, name))
        for name, field in model.model_fields.items()
        if getattr(args, name, None) not in (None, [])
    }
    try:
        return make_options(model, values)
    except ConfigError as error:
        problems = [Problem(_name_problem(one, model), one.message) for one in error.problems]
        raise OptionError(problems) from None


def _name_problem(problem: Problem, model: type[BaseModel]) -> str:
    name = problem.path.partition(".")[0]
    return name and (get_argument_name(model.model_fields[name]) or get_option_name(name))


def _describe_field(field: FieldInfo) -> str:
    """Returns a setting's help as the command line has it, with the default."""
    text = (field.description or "").removesuffix(".")
    if text[1:2].islower() or text[1:2] == " ":
        text = text[0].lower() + text[1:]
    if field.annotation in (int, float) or get_origin(field.annotation) is Literal:
        default = field.default
        text += f" (default: {f'{default:g}' if isinstance(default, float) else default})"
    return text.replace("%", "%%")


def _name_value(name: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "{" + ",".join(map(str, get_args(field.annotation))) + "}"
    if field.annotation in (int, float):
        return "NUMBER"
    return name.rpartition("_")[2].upper()


def _read_value(field: FieldInfo, text: Any) -> Any:
    """Returns a number where one is expected and typed; anything else as it is."""
    if field.annotation in (int, float):
        try:
            return field.annotation(text)
        except ValueError:
            return text
    return text


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options that make a run's settings; `make_config` reads them."""
    parser.add_argument("--dataset", type=Path, help="folder of images with captions")
    parser.add_argument("--base-model", default="", metavar="MODEL", help=BASE_MODEL_HELP)
    parser.add_argument("--name", default="", help="name of the run and of the file")
    parser.add_argument("--trigger", default="", help="trigger word")
    parser.add_argument(
        "--preset", default="", metavar="NAME", help="a preset's name (`lorasmith presets`)"
    )
    parser.add_argument(
        "--config", type=Path, help="a TOML file, such as another run's config.toml"
    )
    parser.add_argument(
        "--continue-from", type=Path, metavar="FILE",
        help="start from the weights of a LoRA file; kind and ranks are the file's",
    )  # fmt: skip
    add_set(parser)


def add_run_or_settings(parser: argparse.ArgumentParser) -> None:
    """Adds a run, or the options that would make one; `read_settings` reads them."""
    parser.add_argument(
        "run", nargs="?", default="", help="a run's folder or id; leave out to give settings"
    )
    add_settings(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    """Adds `--set SECTION.NAME=VALUE`."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.NAME=VALUE",
        help="change one setting; repeat for more (`lorasmith docs config-reference` lists them)",
    )  # fmt: skip


def make_config(args: argparse.Namespace) -> RunConfig:
    """Returns the settings of `add_settings`; raises ConfigError or RunError."""
    sections: dict[str, dict[str, str]] = {"dataset": {}, "base_model": {}, "adapter": {}}
    if args.dataset:
        sections["dataset"]["path"] = str(args.dataset.resolve())
    if args.trigger:
        sections["dataset"]["trigger"] = args.trigger
    if args.base_model:
        sections["base_model"]["path"] = name_base_model(args.base_model)
    if args.continue_from:
        if not args.continue_from.is_file():
            raise RunError(f"There is no LoRA file at {args.continue_from}.")
        sections["adapter"]["start_from"] = str(args.continue_from.resolve())
    settings: dict[str, object] = {key: value for key, value in sections.items() if value}
    if args.name:
        settings["name"] = args.name
    return layer_config(args.preset, args.config, settings, args.set)


def read_settings(args: argparse.Namespace) -> RunConfig:
    """Returns a run's settings, or those of the options; raises ConfigError or RunError."""
    if args.run:
        _refuse_settings(args)
        return find_run(args).config
    return make_config(args)


def _refuse_settings(args: argparse.Namespace) -> None:
    given = [name for name in _SETTINGS if getattr(args, name)]
    if given:
        raise RunError(
            f"{args.run} has its settings in its config.toml, so --{given[0].replace('_', '-')} "
            "cannot be given with it. Leave it out, or leave out the run to make a new one."
        )


def name_base_model(text: str) -> str:
    """Returns a path that holds in any folder; what is no path here, such as a hub id, stays."""
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() else text


def find_workspace(args: argparse.Namespace, *, create: bool = False) -> Path:
    """Returns the workspace, in the format of this version.

    Args:
        args: Of the command.
        create: Whether the command will write into it.

    Raises:
        RunError: it is of a newer version, or cannot be brought up to date.
    """
    workspace: Path = args.workspace
    open_workspace(workspace, create=create)
    return workspace


def find_run(args: argparse.Namespace) -> RunFolder:
    """Returns the run of a path or an id in the workspace.

    Raises:
        RunError: there is none, or its workspace is of a newer version.
    """
    path = Path(args.run)
    known = args.workspace / "runs" / args.run
    run = open_run(known if not path.exists() and known.exists() else path.resolve())
    root = find_workspace_of(run)
    if run.path.parent.name == "runs":  # a run may also lie in some other folder
        open_workspace(root)
    check_workspace(root)
    return run


def find_workspace_of(run: RunFolder) -> Path:
    """Returns the workspace in which a run lies."""
    return run.path.resolve().parent.parent


def find_model(args: argparse.Namespace, name: str) -> Path:
    """Returns where a base model lies: a path, or a hub id that was downloaded.

    Raises:
        RunError: it is a hub id that was not downloaded.
    """
    path = Path(name).expanduser()  # needs no workspace
    return path if path.exists() else find_base_model(name, find_workspace(args) / "models")


def find_models(args: argparse.Namespace) -> Path:
    """Returns the folder of base models: of the run that is named, else of the workspace."""
    return find_run(args).models_path if args.run else find_workspace(args) / "models"
