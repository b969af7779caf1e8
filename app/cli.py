"""The `lorasmith` command."""

import argparse
import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from app.commands import (
    application,
    captioning,
    combining,
    datasets,
    diagnosis,
    downloads,
    evaluating,
    files,
    grids,
    presets,
    queueing,
    run_plans,
    training_runs,
)
from datasets_tools.errors import LorasmithError

# Each adds its commands, in the order in which the help shows them.
SUBJECTS = (
    application,
    datasets,
    captioning,
    training_runs,
    run_plans,
    queueing,
    evaluating,
    presets,
    grids,
    files,
    downloads,
    combining,
    diagnosis,
)

# So many more objects there are before those among them are looked for that nobody uses.
_COLLECT_EVERY = 20_000

# `lorasmith` alone, as somebody types it who has just installed it.
WITHOUT_COMMAND = ("app", "--open")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; an expected error is one clear message on stderr and exit code 2."""
    # Loading the libraries makes a million objects. Collecting as often as Python does by itself,
    # while nothing of them is garbage, takes a sixth of the time in which a command starts.
    gc.set_threshold(_COLLECT_EVERY, 20, 10)
    # Threads that wait in a busy loop starve each other where another process wants a core, too:
    # with one such process an image takes three times as long (docs/lab-log.md, 2026-11-22).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Nothing here is compiled, but bitsandbytes decorates functions for PyTorch's compiler, which
    # takes a second to load: a seventh of what a command with a base model needs in all.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    # What PyTorch lacks on a Mac's GPU is computed on the CPU instead of ending the run.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    _prepare_output()
    given = sys.argv[1:] if arguments is None else arguments
    args = build_parser().parse_args(given or WITHOUT_COMMAND)
    try:
        code: int = args.function(args)
    except LorasmithError as error:
        print(f"lorasmith: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


def _prepare_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # In a log, our lines must not come after those that the trainer writes to stderr later.
            stream.reconfigure(line_buffering=True)
            # Windows takes its code page for a file or a pipe, which lacks most letters.
            if sys.platform == "win32" and not stream.isatty():
                stream.reconfigure(encoding="utf-8", errors=stream.errors)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="lorasmith",
        description="Trains Stable Diffusion LoRAs from 10 to 20 images.",
        epilog="Without a command the app opens in the browser (`lorasmith app --open`).",
    )
    version = metadata.version("lorasmith")
    parser.add_argument("--version", action="version", version=f"lorasmith {version}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for subject in SUBJECTS:
        subject.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
