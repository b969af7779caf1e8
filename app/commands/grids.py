"""Images with LoRA files."""

import argparse
from pathlib import Path

from app.commands.arguments import BASE_MODEL_HELP, Subparsers, add_command, find_model
from trainer.runs import RunError


def add_commands(commands: Subparsers) -> None:
    """Adds `grid`."""
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
