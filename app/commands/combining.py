"""Combining and changing LoRA files, alone and with base models.

What is set of each command is declared in `trainer.config` (`COMBINE_OPTIONS`); here is only what
goes in and comes out.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from app.commands.arguments import Words, add_options, add_word, read_options
from app.commands.grids import split_weight
from trainer.config import (
    BakeOptions,
    ExtractOptions,
    MergeOptions,
    ResizeOptions,
    ScaleOptions,
    SubtractOptions,
)
from trainer.runs.base_models import find_base_model

_SHOWN_LAYERS = 5


def add_words(words: Words) -> None:
    """Adds `merge`, `bake`, `subtract`, `extract`, `resize` and `scale`."""
    merge = add_word(words, "merge", run_merge, "merge LoRA files into one")
    _add_files(merge)
    add_options(merge, MergeOptions)
    _add_output(merge, "the LoRA file to write")
    bake = add_word(words, "bake", run_bake, "put LoRA files into the weights of a base model")
    _add_files(bake)
    add_options(bake, BakeOptions)
    _add_output(bake, "the base model to write: a folder or a file, as the other one is")
    subtract = add_word(
        words, "subtract", run_subtract, "remove LoRA files from a base model that holds them"
    )
    _add_files(subtract)
    add_options(subtract, SubtractOptions)
    _add_output(subtract, "the base model to write: a folder or a file, as the other one is")
    extract = add_word(
        words, "extract", run_extract, "extract a LoRA from two checkpoints (base models)"
    )
    add_options(extract, ExtractOptions)
    _add_output(extract, "the LoRA file to write")
    resize = add_word(words, "resize", run_resize, "give a LoRA file another rank")
    resize.add_argument("file", type=Path, help="a file of any kind; it becomes plain LoRA")
    add_options(resize, ResizeOptions)
    _add_output(resize, "the LoRA file to write")
    scale = add_word(words, "scale", run_scale, "give the blocks of a LoRA file other strengths")
    scale.add_argument("file", type=Path, help="a file of any kind but DoRA")
    add_options(scale, ScaleOptions)
    _add_output(scale, "the LoRA file to write")


def run_merge(args: argparse.Namespace) -> int:
    """Merges LoRA files and prints how similar they are."""
    from trainer.commands import MergeRequest, merge

    options = read_options(args, MergeOptions)
    files = [split_weight(text) for text in args.file]
    base = _find_base(args, options.base_model)
    report = merge(MergeRequest(files, args.to, options, base, args.force))
    if args.json:
        print(json.dumps({"file": str(args.to), **report}, indent=1))
        return 0
    print(f"file: {args.to}")
    _print_merge(report, [path.name for path, _ in files])
    return 0


def run_bake(args: argparse.Namespace) -> int:
    """Bakes LoRA files into a base model."""
    return _bake(args, read_options(args, BakeOptions), out=False)


def run_subtract(args: argparse.Namespace) -> int:
    """Removes LoRA files from a base model."""
    return _bake(args, read_options(args, SubtractOptions), out=True)


def run_extract(args: argparse.Namespace) -> int:
    """Extracts a LoRA from two base models."""
    from trainer.commands import extract

    options = read_options(args, ExtractOptions)
    folder = args.workspace / "models"
    models = (
        find_base_model(options.base_model, folder),
        find_base_model(options.tuned_model, folder),
    )
    done = extract(models, args.to, options, options.precision, force=args.force)
    if args.json:
        print(json.dumps({"file": str(args.to), **done}, indent=1))
        return 0
    print(f"file: {args.to}")
    _print_kept(done["layers"])
    if done["equal"]:
        print(f"{done['equal']} layers are equal in both, and not in the file.")
    if done["left_out"]:
        print(
            f"{len(done['left_out'])} tensors differ that a LoRA file does not hold, first "
            f"{done['left_out'][0]}."
        )
    return 0


def run_resize(args: argparse.Namespace) -> int:
    """Gives a LoRA file another rank."""
    from trainer.commands import resize

    options = read_options(args, ResizeOptions)
    base = _find_base(args, options.base_model)
    done = resize(args.file, args.to, options, options.precision, base_model=base, force=args.force)
    if args.json:
        print(json.dumps({"file": str(args.to), **done}, indent=1))
        return 0
    print(f"file: {args.to}")
    _print_kept(done["layers"])
    return 0


def run_scale(args: argparse.Namespace) -> int:
    """Gives the layers of a LoRA file other strengths."""
    from trainer.commands import scale

    options = read_options(args, ScaleOptions)
    base = _find_base(args, options.base_model)
    done = scale(
        args.file,
        args.to,
        options.list_factors(),
        options.precision,
        base_model=base,
        force=args.force,
    )
    if args.json:
        print(json.dumps({"file": str(args.to), **done}, indent=1))
        return 0
    factors: dict[str, float] = done["factors"]
    changed = sum(factor != 1 for factor in factors.values())
    print(f"file: {args.to}\n{changed} of {len(factors)} layers have another strength.")
    return 0


def _bake(args: argparse.Namespace, options: BakeOptions, *, out: bool) -> int:
    from trainer.commands import bake

    base = find_base_model(options.base_model, args.workspace / "models")
    files = [split_weight(text) for text in args.file]
    done = bake(base, files, args.to, force=args.force, out=out)
    if args.json:
        print(json.dumps({"file": str(args.to), **done}, indent=1))
        return 0
    print(f"base model: {args.to}\n{done['layers']} weights were changed.")
    if done["rounded"]:
        print(
            f"The number format of the base model lost most of the change of "
            f"{len(done['rounded'])} of them, first {done['rounded'][0]}."
        )
    return 0


def _print_merge(report: dict[str, Any], names: list[str]) -> None:
    for pair in report["cosines"]:
        one, other = (names[number] for number in pair["files"])
        print(f"{one} and {other}: cosine {pair['cosine']:+.3f}")
    if report["sign_conflicts"] >= 0:
        print(f"sign conflicts: {report['sign_conflicts']:.1%} of the numbers")
    print(f"distance from the weighted sum: {report['lost']:.2%} of its energy")
    if report["cut"]:
        print(f"cut by the rank: {report['cut']:.2%} of the energy of what the method made")
    alike = sorted(
        (layer for layer in report["layers"] if layer["cosines"]),
        key=lambda layer: max(abs(value) for value in layer["cosines"]),
        reverse=True,
    )
    for layer in alike[:_SHOWN_LAYERS]:
        cosines = ", ".join(f"{value:+.3f}" for value in layer["cosines"])
        print(f"  {layer['layer']}: cosine {cosines}, distance {layer['lost']:.2%}")


def _print_kept(layers: list[dict[str, Any]]) -> None:
    ranks = sorted(layer["rank"] for layer in layers)
    spread = str(ranks[0]) if ranks[0] == ranks[-1] else f"{ranks[0]} to {ranks[-1]}"
    worst = min(layers, key=lambda layer: float(layer["energy"]))
    mean = sum(layer["energy"] for layer in layers) / len(layers)
    print(
        f"{len(layers)} layers of rank {spread}; {mean:.1%} of the energy is kept in the mean, "
        f"{worst['energy']:.1%} in {worst['layer']}."
    )


def _find_base(args: argparse.Namespace, name: str) -> Path | None:
    return find_base_model(name, args.workspace / "models") if name else None


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="+", metavar="FILE[:WEIGHT]", help="a LoRA file and its weight, else 1"
    )


def _add_output(parser: argparse.ArgumentParser, text: str) -> None:
    parser.epilog = "A base model is given as a folder, a file or a hub id."
    parser.add_argument("--to", type=Path, required=True, help=text)
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
