"""Images with LoRA files."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.commands.arguments import BASE_MODEL_HELP, Subparsers, add_command, find_model, find_run
from trainer.config import BaseModelConfig
from trainer.formats.samplers import SAMPLERS
from trainer.runs import PreviewRequest, RunError, RunFolder, open_run
from trainer.runs.grids import AXES, Axis, AxisName, Grid

MOST_CLASS_IMAGES = 5000
MOST_AXES = 2
WEIGHTS = (0.0, 0.5, 1.0, 1.5)


def add_commands(commands: Subparsers) -> None:
    """Adds `grid` and `class-images`."""
    _add_grid(commands)
    _add_class_images(commands)


def _add_grid(commands: Subparsers) -> None:
    grid = add_command(commands, "grid", _run_grid, "generate images over two settings, labelled")
    grid.add_argument(
        "file", nargs="?", default="", metavar="LORA|RUN[:WEIGHT]",
        help="a LoRA file, or a run (folder or id) for its file, checkpoints and base model",
    )  # fmt: skip
    grid.add_argument(
        "--lora", action="append", default=[], metavar="FILE[:WEIGHT]",
        help="one more LoRA file, and its share in the mix (1 if left out); repeat for more",
    )  # fmt: skip
    grid.add_argument("--base-model", default="", metavar="MODEL", help=BASE_MODEL_HELP)
    grid.add_argument("--prompt", action="append", required=True, help="repeat for more")
    grid.add_argument(
        "--weight", type=float, nargs="+", action="extend", default=[],
        help="it multiplies the share of every LoRA file; left out, 0 0.5 1 1.5 where no more than "
        "one other axis is given, else 1",
    )  # fmt: skip
    grid.add_argument(
        "--step", nargs="+", action="extend", default=[], metavar="STEP",
        help="checkpoints of the run, by their steps, or all",
    )  # fmt: skip
    grid.add_argument(
        "--adapter",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="LoRA files, each one alone",
    )
    grid.add_argument(
        "--seed", type=int, nargs="+", action="extend", default=[], help="1 if left out"
    )
    grid.add_argument(
        "--sampler", nargs="+", action="extend", default=[], metavar="NAME",
        help=f"left out, the model's usual one: {', '.join(SAMPLERS)}",
    )  # fmt: skip
    grid.add_argument(
        "--guidance", type=float, nargs="+", action="extend", default=[],
        help="how strongly to follow prompts; 7 if left out",
    )  # fmt: skip
    grid.add_argument("--columns", choices=AXES, default="", help="what varies from left to right")
    grid.add_argument("--negative-prompt", default="", help="what to avoid")
    grid.add_argument("--steps", type=int, default=25, help="denoising steps")
    grid.add_argument("--width", type=int, default=0, help="pixels; 0 is the model's own size")
    grid.add_argument("--height", type=int, default=0, help="pixels; 0 is the model's own size")
    grid.add_argument(
        "--aspect", default="", metavar="W:H",
        help="such as 3:2, in the model's own number of pixels; where width and height are 0",
    )  # fmt: skip
    grid.add_argument("--to", type=Path, default=Path("grid.png"), help="the image to write")
    grid.add_argument("--json", action="store_true", help="print a line of JSON per image instead")
    grid.epilog = (
        "What is given several values is an axis; a grid has two at most. Its axes and cells are "
        "in the JSON file beside the image, its images in the folder NAME-cells. Ctrl+C stops it; "
        "the same command generates only what is missing."
    )


def _add_class_images(commands: Subparsers) -> None:
    classes = add_command(
        commands, "class-images", _run_class_images, "generate images of a class, for a prior"
    )
    classes.add_argument("--base-model", required=True, metavar="MODEL", help=BASE_MODEL_HELP)
    classes.add_argument(
        "--prompt", action="append", required=True,
        help="what the class is called, such as “a photo of a cat”; several take turns",
    )  # fmt: skip
    classes.add_argument("--count", type=int, default=100, help="images that the folder shall have")
    classes.add_argument("--seed", type=int, default=1, help="seed of the first image")
    classes.add_argument("--steps", type=int, default=25, help="denoising steps")
    classes.add_argument("--guidance", type=float, default=7.0, help="how strongly to follow them")
    classes.add_argument("--width", type=int, default=0, help="pixels; 0 is the model's own size")
    classes.add_argument("--height", type=int, default=0, help="pixels; 0 is the model's own size")
    classes.add_argument("--to", type=Path, required=True, help="the folder, for prior_path")
    classes.epilog = (
        "Train with objective.prior = images and dataset.prior_path = the folder. It goes on where "
        "it ended when it is run again."
    )


def _run_class_images(args: argparse.Namespace) -> int:
    if not 1 <= args.count <= MOST_CLASS_IMAGES:
        raise RunError(f"--count is a number from 1 to {MOST_CLASS_IMAGES}.")
    from trainer.commands import GenerationRequest, generate_class_images

    request = GenerationRequest(
        prompt="",
        seed=args.seed,
        inference_steps=args.steps,
        guidance=args.guidance,
        width=args.width,
        height=args.height,
    )
    base_model = find_model(args, args.base_model)
    made = generate_class_images(
        base_model, args.prompt, args.count, request, args.to,
        lambda done, total: print(f"{done} of {total}", flush=True),
    )  # fmt: skip
    print(f"{made} images generated in {args.to}")
    return 0


def _run_grid(args: argparse.Namespace) -> int:
    from trainer.commands import generate_grid

    grid = make_grid_of(args)
    models = (grid.run.models_path if grid.run else args.workspace / "models").resolve()
    far = (0, 0)

    def report(done: int, total: int) -> None:
        nonlocal far
        far = (done, total)
        line = json.dumps({"event": "cell", "done": done, "total": total})
        print(line if args.json else f"{done} of {total}", flush=True)

    try:
        generated, loads = generate_grid(grid, models, args.to, report)
    except KeyboardInterrupt:
        msg = f"Stopped: {far[0]} of {far[1]} images are there. The same command goes on."
        raise RunError(msg) from None
    done = {"event": "done", "image": str(args.to), "generated": generated, "base_loads": loads}
    print(json.dumps(done) if args.json else f"grid: {args.to}")
    return 0


def make_grid_of(args: argparse.Namespace) -> Grid:
    """Returns the grid that a command line asks for.

    Raises:
        RunError: it has no LoRA file, or more than two axes.
    """
    file, share = split_weight(args.file)
    run = _find_run(args, file) if args.file and not file.is_file() else None
    base_model = _choose_base_model(args, run, file)
    mix = _read_mix([*([] if run else [args.file]), *args.lora])
    if run:
        exports = run.list_exports()
        if not exports and not run.list_checkpoints():
            raise RunError(f"{run.id} has no file and no checkpoint yet.")
        newest = exports[0] if exports else run.list_checkpoints()[-1].path / "adapter.safetensors"
        mix = {newest: share, **mix}
    if not mix and not args.adapter and not args.step:
        raise RunError("Name a LoRA file or a run to generate with.")
    axes: dict[AxisName, tuple[Any, ...]] = {
        "adapter": tuple(str(Path(name).resolve()) for name in args.adapter),
        "step": _read_steps(args.step, run),
        "weight": tuple(args.weight),
        "prompt": tuple(args.prompt),
        "seed": tuple(args.seed) or (1,),
        "sampler": tuple(args.sampler) or ("",),
        "guidance": tuple(args.guidance) or (7.0,),
    }
    rows, columns = _choose_axes(axes, args.columns)
    first: dict[str, Any] = {name: values[0] for name, values in axes.items() if values}
    request: dict[str, Any] = {
        "base_model": base_model.model_dump(),
        "negative_prompt": args.negative_prompt,
        "inference_steps": args.steps,
        "width": args.width,
        "height": args.height,
        "aspect": args.aspect,
        "adapters": tuple(
            {"path": str(path.resolve()), "weight": share} for path, share in mix.items()
        ),
        **{str(name): first[name] for name in AXES if name not in ("adapter", "step", "weight")},
    }
    try:
        shared = PreviewRequest.model_validate(request)
    except ValidationError as error:
        one = error.errors()[0]
        raise RunError(f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}.") from error
    # What has one value is applied to what all cells have in common.
    chooses: tuple[AxisName, ...] = ("adapter", "step", "weight")
    for name in chooses:
        if axes[name] and name not in (rows.name, columns.name):
            shared = Grid(shared, rows, columns, run).apply({name: first[name]})
    return Grid(shared, rows, columns, run)


def _choose_axes(axes: dict[AxisName, tuple[Any, ...]], columns: str) -> tuple[Axis, Axis]:
    """Returns rows and columns: what has several values, and the weight where one is free."""
    several = [name for name in AXES if len(axes[name]) > 1]
    if not axes["weight"] and len(several) < MOST_AXES:
        axes["weight"] = WEIGHTS
        several = [name for name in AXES if name in (*several, "weight")]
    if len(several) > MOST_AXES:
        names = ", ".join(f"--{name}" for name in several)
        raise RunError(f"A grid has two axes, and several values are given for {names}.")
    alone: tuple[AxisName, ...] = ("prompt", "weight", "seed")  # with one value, if need be
    for name in alone:
        if len(several) < MOST_AXES and name not in several and axes[name]:
            several.append(name)
    if columns and columns not in several:
        raise RunError(f"--columns is {columns}, which has no more than one value.")
    across = next(each for each in (columns, "weight", *several[1:]) if each in several)
    down = next(each for each in several if each != across)
    return Axis(down, axes[down]), Axis(across, axes[across])


def _read_mix(texts: Sequence[str]) -> dict[Path, float]:
    """Returns the share of each file; one that is named twice has the sum."""
    mix: dict[Path, float] = {}
    for path, share in map(split_weight, filter(None, texts)):
        if not path.is_file():
            raise RunError(f"There is no LoRA file at {path}.")
        mix[path] = mix.get(path, 0.0) + share
    return mix


def _find_run(args: argparse.Namespace, name: Path) -> RunFolder | None:
    """Returns the run that is named instead of a file; None where it is none."""
    if not (name.is_dir() or (args.workspace / "runs" / name).is_dir()):
        return None
    return find_run(argparse.Namespace(run=str(name), workspace=args.workspace))


def _read_steps(texts: Sequence[str], run: RunFolder | None) -> tuple[int, ...]:
    if texts and run is None:
        raise RunError("Only a run has steps: name a run instead of a LoRA file.")
    if run is not None and list(texts) == ["all"]:
        steps = tuple(each.step for each in run.list_checkpoints())
        if not steps:
            raise RunError(f"{run.id} has no checkpoint yet.")
        return steps
    try:
        return tuple(map(int, texts))
    except ValueError:
        raise RunError(f"--step takes numbers or all, not {' '.join(texts)}.") from None


def _choose_base_model(
    args: argparse.Namespace, run: RunFolder | None, file: Path
) -> BaseModelConfig:
    """Returns the base model that is named, else that of the run, or of the file's run."""
    if args.base_model:
        return BaseModelConfig(path=str(find_model(args, args.base_model)))
    if run is None and file.is_file():
        folders = (each for each in file.resolve().parents if (each / "config.toml").is_file())
        folder = next(folders, None)
        run = open_run(folder) if folder else None
    if run is None:
        raise RunError("Name the base model with --base-model; only a run knows its own.")
    return run.config.base_model


def split_weight(text: str) -> tuple[Path, float]:
    """Returns the path and the weight of FILE[:WEIGHT]; a colon may belong to the path."""
    name, colon, weight = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(name), float(weight)
    except ValueError:
        return Path(text), 1.0
