"""What several words of the command line share: their options, and how those are read."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from trainer.config import RunConfig, layer_config, list_presets
from trainer.runs import RunError, RunFolder, open_run

# Where a subject adds its words; argparse gives this type no public name.
Words: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_SETTINGS = (
    "dataset", "base_model", "name", "trigger", "preset", "config", "continue_from", "set",
)  # fmt: skip


def add_word(
    words: Words,
    name: str,
    function: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    """Adds a word that calls a function; `text` is its help, without a full stop."""
    parser = words.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(function=function)
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("LORASMITH_WORKSPACE", Path.home() / "lorasmith")),
        help="folder of datasets, runs and models; default LORASMITH_WORKSPACE or ~/lorasmith",
    )
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options that make a run's settings; `make_config` reads them."""
    parser.add_argument("--dataset", type=Path, help="folder of images with captions")
    parser.add_argument(
        "--base-model",
        default="",
        metavar="MODEL",
        help="the base model: a folder, a file or a hub id",
    )
    parser.add_argument("--name", default="", help="name of the run and of the file")
    parser.add_argument("--trigger", default="", help="trigger word")
    parser.add_argument(
        "--preset", default="", choices=list_presets(), metavar="NAME", help="a preset's name"
    )
    parser.add_argument(
        "--config", type=Path, help="a TOML file, such as another run's config.toml"
    )
    parser.add_argument(
        "--continue-from",
        type=Path,
        metavar="FILE",
        help="start from the weights of a LoRA file; kind and ranks are the file's",
    )
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
        "--set",
        action="append",
        default=[],
        metavar="SECTION.NAME=VALUE",
        help="change one setting; repeat for more (docs/config-reference.md lists them)",
    )


def make_config(args: argparse.Namespace) -> RunConfig:
    """Returns the settings that the options of `add_settings` give.

    Raises:
        ConfigError: all that is wrong with them.
        RunError: there is no such file to continue from.
    """
    sections: dict[str, dict[str, str]] = {"dataset": {}, "base_model": {}, "adapter": {}}
    if args.dataset:
        sections["dataset"]["path"] = str(args.dataset.resolve())
    if args.trigger:
        sections["dataset"]["trigger"] = args.trigger
    if args.base_model:
        sections["base_model"]["path"] = name_base_model(args.base_model)
    if args.continue_from:
        file = find_file(args.continue_from, "LoRA file")
        sections["adapter"]["start_from"] = str(file.resolve())
    settings: dict[str, object] = {key: value for key, value in sections.items() if value}
    if args.name:
        settings["name"] = args.name
    return layer_config(args.preset, args.config, settings, args.set)


def read_settings(args: argparse.Namespace) -> RunConfig:
    """Returns the settings of a run, or those that the options give.

    Raises:
        ConfigError, RunError: there is no such run, or what is wrong with the settings.
    """
    if args.run:
        refuse_settings(args)
        return find_run(args).config
    return make_config(args)


def refuse_settings(args: argparse.Namespace) -> None:
    """A run has its settings already.

    Raises:
        RunError: some are given with it.
    """
    given = [name for name in _SETTINGS if getattr(args, name)]
    if given:
        msg = (
            f"{args.run} has its settings in its config.toml, so --{given[0].replace('_', '-')} "
            "cannot be given with it. Leave it out, or leave out the run to make a new one."
        )
        raise RunError(msg)


def name_base_model(text: str) -> str:
    """Returns a path that holds in any folder; what is no path here, such as a hub id, stays."""
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() else text


def find_run(args: argparse.Namespace) -> RunFolder:
    """Returns the run of a path, or of a run's id in the workspace.

    Raises:
        RunError: there is none.
    """
    path = Path(args.run)
    known = args.workspace / "runs" / args.run
    return open_run(known if not path.exists() and known.exists() else path.resolve())


def find_workspace(run: RunFolder) -> Path:
    """Returns the workspace in which a run lies."""
    return run.path.resolve().parent.parent


def find_models(args: argparse.Namespace) -> Path:
    """Returns the folder of base models: of the run that is named, else of the workspace."""
    if args.run:
        return find_run(args).models_path
    workspace: Path = args.workspace
    return workspace / "models"


def find_file(path: Path, what: str) -> Path:
    """Returns a path at which there is a file.

    Raises:
        RunError: there is none.
    """
    if not path.is_file():
        msg = f"There is no {what} at {path}."
        raise RunError(msg)
    return path
