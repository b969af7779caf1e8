"""Combining and changing LoRA files, alone and with base models.

What is set of each command is declared in `trainer.config` (`COMBINE_OPTIONS`); here is only what
goes in and comes out.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.commands.arguments import Subparsers, add_command, add_options, find_model, read_options
from app.commands.grids import split_weight
from trainer.config import (
    COMBINE_OPTIONS,
    BakeOptions,
    ExtractOptions,
    MergeOptions,
    ResizeOptions,
    ScaleOptions,
    SubtractOptions,
)

_SHOWN_LAYERS = 5
_LORA = "the LoRA file to write"
_BASE_MODEL = "the base model to write: a folder or a file, as the other one is"


def add_commands(commands: Subparsers) -> None:
    """Adds `merge`, `bake`, `subtract`, `extract`, `resize` and `scale`."""
    for name, function, help_text, takes, writes in (
        ("merge", _run_merge, "merge LoRA files into one", "", _LORA),
        ("bake", _run_bake, "put LoRA files into the weights of a base model", "", _BASE_MODEL),
        ("subtract", _run_subtract, "remove LoRA files from a base model that holds them", "",
         _BASE_MODEL),
        ("extract", _run_extract, "extract a LoRA from two checkpoints (base models)", None, _LORA),
        ("resize", _run_resize, "give a LoRA file another rank",
         "a file of any kind; it becomes plain LoRA", _LORA),
        ("scale", _run_scale, "give the blocks of a LoRA file other strengths",
         "a file of any kind but DoRA", _LORA),
    ):  # fmt: skip
        parser = add_command(commands, name, function, help_text)
        if takes:
            parser.add_argument("file", type=Path, help=takes)
        elif takes is not None:
            parser.add_argument(
                "file",
                nargs="+",
                metavar="FILE[:WEIGHT]",
                help="a LoRA file and its weight, else 1",
            )
        add_options(parser, COMBINE_OPTIONS[name])
        parser.epilog = "A base model is given as a folder, a file or a hub id."
        parser.add_argument("--to", type=Path, required=True, help=writes)
        parser.add_argument("--force", action="store_true", help="replace what is there")
        parser.add_argument("--json", action="store_true", help="print what came of it as JSON")


def _run_merge(args: argparse.Namespace) -> int:
    from trainer.commands import MergeRequest, merge

    options = read_options(args, MergeOptions)
    files = [split_weight(text) for text in args.file]
    base = _find_base(args, options.base_model)
    report = merge(MergeRequest(files, args.to, options, base, args.force))
    return _print(args, report, _describe_merge(report, [path.name for path, _ in files]))


def _run_bake(args: argparse.Namespace) -> int:
    return _bake(args, read_options(args, BakeOptions), subtract=False)


def _run_subtract(args: argparse.Namespace) -> int:
    return _bake(args, read_options(args, SubtractOptions), subtract=True)


def _bake(args: argparse.Namespace, options: BakeOptions, *, subtract: bool) -> int:
    from trainer.commands import bake

    base = find_model(args, options.base_model)
    files = [split_weight(text) for text in args.file]
    report = bake(base, files, args.to, force=args.force, subtract=subtract)
    return _print(args, report, _describe_baked(report), title="base model")


def _run_extract(args: argparse.Namespace) -> int:
    from trainer.commands import extract

    options = read_options(args, ExtractOptions)
    models = (find_model(args, options.base_model), find_model(args, options.tuned_model))
    report = extract(models, args.to, options, options.precision, force=args.force)
    return _print(args, report, _describe_layers(report))


def _run_resize(args: argparse.Namespace) -> int:
    from trainer.commands import resize

    options = read_options(args, ResizeOptions)
    base, precision = _find_base(args, options.base_model), options.precision
    report = resize(args.file, args.to, options, precision, base_model=base, force=args.force)
    return _print(args, report, _describe_layers(report))


def _run_scale(args: argparse.Namespace) -> int:
    from trainer.commands import scale

    options = read_options(args, ScaleOptions)
    base, factors = _find_base(args, options.base_model), options.list_factors()
    report = scale(
        args.file, args.to, factors, options.precision, base_model=base, force=args.force
    )
    return _print(args, report, _describe_scaled(report))


def _print(
    args: argparse.Namespace, report: dict[str, Any], lines: Iterator[str], title: str = "file"
) -> int:
    if args.json:
        print(json.dumps({"file": str(args.to), **report}, indent=1))
    else:
        print(f"{title}: {args.to}", *lines, sep="\n")
    return 0


def _describe_merge(report: dict[str, Any], names: list[str]) -> Iterator[str]:
    for pair in report["cosines"]:
        one, other = (names[number] for number in pair["files"])
        yield f"{one} and {other}: cosine {pair['cosine']:+.3f}"
    if report["sign_conflicts"] >= 0:
        yield f"sign conflicts: {report['sign_conflicts']:.1%} of the numbers"
    yield f"distance from the weighted sum: {report['lost']:.2%} of its energy"
    if report["cut"]:
        yield f"cut by the rank: {report['cut']:.2%} of the energy of what the method made"
    alike = sorted(
        (layer for layer in report["layers"] if layer["cosines"]),
        key=lambda layer: max(abs(value) for value in layer["cosines"]),
        reverse=True,
    )
    for layer in alike[:_SHOWN_LAYERS]:
        cosines = ", ".join(f"{value:+.3f}" for value in layer["cosines"])
        yield f"  {layer['layer']}: cosine {cosines}, distance {layer['lost']:.2%}"


def _describe_layers(report: dict[str, Any]) -> Iterator[str]:
    layers: list[dict[str, Any]] = report["layers"]
    ranks = sorted(layer["rank"] for layer in layers)
    spread = str(ranks[0]) if ranks[0] == ranks[-1] else f"{ranks[0]} to {ranks[-1]}"
    worst = min(layers, key=lambda layer: float(layer["energy"]))
    mean = sum(layer["energy"] for layer in layers) / len(layers)
    yield (
        f"{len(layers)} layers of rank {spread}; {mean:.1%} of the energy is kept in the mean, "
        f"{worst['energy']:.1%} in {worst['layer']}."
    )
    if report.get("equal"):
        yield f"{report['equal']} layers are equal in both, and not in the file."
    if left_out := report.get("left_out"):
        yield f"{len(left_out)} tensors differ that a LoRA file does not hold, first {left_out[0]}."


def _describe_scaled(report: dict[str, Any]) -> Iterator[str]:
    factors = report["factors"].values()
    changed = sum(factor != 1 for factor in factors)
    yield f"{changed} of {len(factors)} layers have another strength."


def _describe_baked(report: dict[str, Any]) -> Iterator[str]:
    yield f"{report['layers']} weights were changed."
    if words := report.get("words"):
        yield f"Left out, as a base model cannot hold embeddings: {', '.join(words)}."
    if rounded := report["rounded"]:
        yield (
            f"The number format of the base model lost most of the change of "
            f"{len(rounded)} of them, first {rounded[0]}."
        )


def _find_base(args: argparse.Namespace, name: str) -> Path | None:
    return find_model(args, name) if name else None
