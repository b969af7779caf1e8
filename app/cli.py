"""The `lorasmith` command."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import get_args

from app import commands
from datasets_tools.errors import DatasetError
from trainer.config import ConfigError, list_presets
from trainer.runs import RunError
from trainer.runs.control import Request


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; an expected error is one clear message on stderr and exit code 2."""
    # Threads that wait in a busy loop starve each other where another process wants a core, too:
    # with one such process a picture takes three times as long (docs/lab-log.md, 2026-11-22).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # In a log, our lines must not come after those that the trainer writes to stderr later.
        sys.stdout.reconfigure(line_buffering=True)
    args = build_parser().parse_args(arguments)
    try:
        code: int = args.function(args)
    except (ConfigError, DatasetError, RunError) as error:
        return _complain(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        # The heavy rooms' own errors are known only once those rooms are loaded.
        heavy = sys.modules.get("trainer.commands")
        if heavy is not None and isinstance(error, heavy.EXPECTED_ERRORS):
            return _complain(error)
        raise
    return code


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="lorasmith", description="Trains Stable Diffusion LoRAs from 10 to 20 images."
    )
    version = metadata.version("lorasmith")
    parser.add_argument("--version", action="version", version=f"lorasmith {version}")
    words = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_app(words)
    _add_train(words)
    _add_run_words(words)
    _add_check(words)
    _add_grid(words)
    _add_small_words(words)
    return parser


def _add_app(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    app = _add_word(words, "app", commands.run_app, "open the app in the browser")
    app.add_argument("--host", default="127.0.0.1", help="address to listen on")
    app.add_argument("--port", type=int, default=7860, help="port to listen on")
    app.add_argument(
        "--password",
        default="",
        help="asked for by the app; needed for any --host but this computer; "
        "LORASMITH_PASSWORD in the environment does the same",
    )
    app.add_argument("--open", action="store_true", help="open a browser window, too")
    demo = _add_word(
        words, "demo", commands.run_demo, "train the example style on the starter model"
    )
    _add_set(demo)


def _add_train(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = _add_word(words, "train", commands.run_train, "start, resume or create a run")
    train.add_argument(
        "run", nargs="?", default="", help="a run's folder or id; leave out to create a new run"
    )
    train.add_argument("--dataset", type=Path, help="folder of images with captions")
    train.add_argument("--base-model", type=Path, help="folder of the base model")
    train.add_argument("--name", default="", help="name of the run and of the file")
    train.add_argument("--trigger", default="", help="trigger word")
    train.add_argument(
        "--preset", default="", choices=list_presets(), metavar="NAME", help="a preset's name"
    )
    train.add_argument("--config", type=Path, help="a TOML file, such as another run's config.toml")
    _add_set(train)
    train.add_argument(
        "--create-only", action="store_true", help="create the run without starting it"
    )


def _add_run_words(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ask = _add_word(words, "ask", commands.run_ask, "ask a living run for something")
    ask.add_argument("run", help="a run's folder or id")
    ask.add_argument("what", choices=get_args(Request), help="what to do after the current step")
    status = _add_word(words, "status", commands.run_status, "list the runs and their state")
    status.add_argument("run", nargs="?", default="", help="only this run")
    export = _add_word(words, "export", commands.run_export, "write the file of a checkpoint")
    export.add_argument("run", help="a run's folder or id")
    export.add_argument("--step", type=int, default=0, help="the checkpoint's step; 0 is the last")


def _add_check(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = _add_word(words, "check", commands.run_check, "say what is wrong with a dataset")
    check.add_argument("dataset", type=Path, help="folder of images with captions")
    check.add_argument("--trigger", default="", help="trigger word that captions should hold")
    check.add_argument("--resolution", type=int, default=512, help="training size in pixels")
    check.add_argument("--json", action="store_true", help="print the report as JSON")


def _add_grid(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    grid = _add_word(words, "grid", commands.run_grid, "draw prompts at several adapter weights")
    grid.add_argument("lora", type=Path, help="a LoRA file")
    grid.add_argument("--base-model", type=Path, required=True, help="folder of the base model")
    grid.add_argument("--prompt", action="append", required=True, help="repeat for more rows")
    grid.add_argument(
        "--weight", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5], help="one column each"
    )
    grid.add_argument("--negative-prompt", default="", help="what to avoid")
    grid.add_argument("--seed", type=int, default=1, help="seed of the first row")
    grid.add_argument("--steps", type=int, default=25, help="denoising steps")
    grid.add_argument("--guidance", type=float, default=7.0, help="how strongly to follow prompts")
    grid.add_argument("--width", type=int, default=0, help="pixels; 0 is the model's own size")
    grid.add_argument("--height", type=int, default=0, help="pixels; 0 is the model's own size")
    grid.add_argument("--to", type=Path, default=Path("grid.png"), help="the picture to write")


def _add_small_words(words: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _add_word(words, "presets", commands.run_presets, "list the presets")
    worker = _add_word(
        words, "preview-worker", commands.run_preview_worker, "answer the app's preview requests"
    )
    worker.add_argument("folder", type=Path, help="where requests and results lie")
    worker.add_argument(
        "--idle-seconds", type=float, default=900.0, help="end after so long without a request"
    )


def _add_word(
    words: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = words.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(function=function)
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("LORASMITH_WORKSPACE", Path.home() / "lorasmith")),
        help="folder of datasets, runs and models; default LORASMITH_WORKSPACE or ~/lorasmith",
    )
    return parser


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.NAME=VALUE",
        help="change one setting; repeat for more (docs/config-reference.md lists them)",
    )


def _complain(error: Exception) -> int:
    print(f"lorasmith: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
