"""Images with LoRA files."""

import argparse
from pathlib import Path

from app.commands.arguments import BASE_MODEL_HELP, Subparsers, add_command, find_model
from trainer.runs import RunError

MOST_CLASS_IMAGES = 5000


def add_commands(commands: Subparsers) -> None:
    """Adds `grid` and `class-images`."""
    grid = add_command(commands, "grid", _run_grid, "generate prompts at several adapter weights")
    grid.add_argument("file", nargs="?", default="", metavar="LORA", help="a LoRA file")
    grid.add_argument(
        "--lora", action="append", default=[], metavar="FILE[:WEIGHT]",
        help="one more LoRA file, and its share in the mix (1 if left out); repeat for more",
    )  # fmt: skip
    grid.add_argument("--base-model", required=True, metavar="MODEL", help=BASE_MODEL_HELP)
    grid.add_argument("--prompt", action="append", required=True, help="repeat for more rows")
    grid.add_argument(
        "--weight", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5],
        help="one column each; it multiplies the share of every LoRA file",
    )  # fmt: skip
    grid.add_argument("--negative-prompt", default="", help="what to avoid")
    grid.add_argument("--seed", type=int, default=1, help="seed of the first row")
    grid.add_argument("--steps", type=int, default=25, help="denoising steps")
    grid.add_argument("--guidance", type=float, default=7.0, help="how strongly to follow prompts")
    grid.add_argument("--width", type=int, default=0, help="pixels; 0 is the model's own size")
    grid.add_argument("--height", type=int, default=0, help="pixels; 0 is the model's own size")
    grid.add_argument("--to", type=Path, default=Path("grid.png"), help="the image to write")

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
    mix = [split_weight(text) for text in [args.file, *args.lora] if text]
    if not mix:
        raise RunError("Name a LoRA file to generate with.")
    from trainer.commands import GenerationRequest, generate_grid

    request = GenerationRequest(
        prompt="",
        negative_prompt=args.negative_prompt,
        seed=args.seed,
        inference_steps=args.steps,
        guidance=args.guidance,
        width=args.width,
        height=args.height,
    )
    base_model = find_model(args, args.base_model)
    generate_grid(base_model, mix, args.prompt, args.weight, request, args.to)
    print(f"grid: {args.to}")
    return 0


def split_weight(text: str) -> tuple[Path, float]:
    """Returns the path and the weight of FILE[:WEIGHT]; a colon may belong to the path."""
    name, colon, weight = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(name), float(weight)
    except ValueError:
        return Path(text), 1.0
