"""Builds the starter model from emoji sets on npm, or from the packages in a folder.

    python examples/starter-model/build.py [--only STAGE] [--packages FOLDER] [--set NAME=VALUE]

Stages: fetch, render, captions, tokenizer, VAE, latents, UNet with text encoder, evaluation,
captioner, model. Each is made once per content of what goes into it (settings, inputs, code) and
kept in --work; the same command goes on where it was interrupted. The full preset wants a large
GPU; without one, `--preset cpu` makes a model of fewer names in hours. `--only captioner` makes the
captioner alone, in an hour. `--only speed` estimates how long the trainings take here. `--measure
FOLDER` trains nothing: it measures a finished model, by the numbers of the model card.
"""

import argparse
import importlib
import math
import os
import sys
import time
from pathlib import Path

from recipe.errors import OutOfTimeError, RecipeError
from recipe.settings import PRESETS, assign, list_names

GOALS = ("data", "vae", "unet", "captioner", "evaluation", "model", "speed")
STOPPED = 75  # exit code: try again, as sysexits.h has it
HERE = Path(__file__).resolve().parent


def build_parser() -> argparse.ArgumentParser:
    """Returns the command line."""
    work = HERE.parents[1] / "build" / "starter-model"
    parser = argparse.ArgumentParser(description="Build the starter model.")
    add = parser.add_argument
    add(
        "--preset",
        choices=PRESETS,
        default="full",
        help="full (GPU), cpu (fewer names, hours), smoke (seconds)",
    )
    add("--only", choices=GOALS, default="model", help="make this and what it needs (%(default)s)")
    add("--measure", type=Path, metavar="FOLDER", help="print a finished model's numbers instead")
    add("--packages", type=Path, help="folder with the npm packages, packed or unpacked")
    add("--work", type=Path, default=work, help="where the stages are kept (%(default)s)")
    add("--out", type=Path, help="where the model or captioner goes (WORK/model)")
    add("--seed", type=int, help="of everything random (0)")
    add("--device", default="auto", help="cpu, cuda, or auto (%(default)s)")
    add(
        "--compile",
        action="store_true",
        help="use torch.compile, on a GPU: a slow start, faster steps",
    )
    add("--stop-after", type=float, metavar="SECONDS", help="save, stop, and exit with 75")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="e.g. unet.steps=9000")
    add("--list-settings", action="store_true", help="list the names that --set takes")
    return parser


def main() -> int:
    """Reads the arguments, runs the recipe, explains expected errors."""
    began = time.monotonic()
    arguments = build_parser().parse_args()
    if arguments.list_settings:
        print("\n".join(list_names(PRESETS[arguments.preset])))
        return 0
    # Nothing is ever looked up on a hub, and no warning about that is of use.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        run(arguments, began)
    except OutOfTimeError as stop:
        print(f"Out of time: {stop}. The same command goes on from there.")
        return STOPPED
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0


def run(arguments: argparse.Namespace, began: float) -> None:
    """Sets up the build and runs it.

    Raises:
        RecipeError: an expected error, with what to do.
        OutOfTimeError: the time of --stop-after is over.
    """
    settings = assign(PRESETS[arguments.preset], arguments.set)
    if arguments.seed is not None:
        settings = assign(settings, [f"seed={arguments.seed}"])
    if arguments.packages and not arguments.packages.is_dir():
        msg = f"{arguments.packages} is no folder. Name the folder that holds the packages."
        raise RecipeError(msg)
    # Here and not above: the processes that render would import all of torch as well.
    pipeline = importlib.import_module("recipe.pipeline")
    training = importlib.import_module("recipe.training")
    importlib.import_module("transformers").utils.logging.disable_progress_bar()
    stop_at = began + arguments.stop_after if arguments.stop_after else math.inf
    build = pipeline.Build(
        work=arguments.work,
        packages=arguments.packages,
        tokenizer=HERE / "tokenizer" / "tokenizer.json",
        settings=settings,
        context=training.make_device_context(arguments.device, arguments.compile, stop_at),
    )
    if arguments.measure:
        build.measure_folder(arguments.measure)
        return
    name = "captioner" if arguments.only == "captioner" else "model"
    build.run(arguments.only, arguments.out or arguments.work / name)


if __name__ == "__main__":
    sys.exit(main())
