"""Combining and changing LoRA files, alone and with base models."""

import argparse
import json
from pathlib import Path
from typing import Any

from app.commands.arguments import Words, add_word
from app.commands.grids import split_weight
from trainer.formats.precision import PRECISIONS
from trainer.runs import RunError
from trainer.runs.base_models import find_base_model

METHODS = ("linear", "concatenate", "svd", "ties", "dare_linear", "dare_ties", "orthogonal")
_SHOWN_LAYERS = 5


def add_words(words: Words) -> None:
    """Adds `merge`, `bake`, `subtract`, `extract`, `resize` and `scale`."""
    _add_merge(words)
    for name, function, text in (
        ("bake", run_bake, "put LoRA files into the weights of a base model"),
        ("subtract", run_subtract, "take LoRA files out of a base model again"),
    ):
        word = add_word(words, name, function, text)
        _add_files(word)
        word.add_argument(
            "--base-model", required=True, metavar="MODEL", help="a folder, a file or a hub id"
        )
        _add_output(word, "the base model to write: a folder or a file, as the other one is")
    extract = add_word(words, "extract", run_extract, "make a LoRA of what two base models differ")
    extract.add_argument("base", metavar="BASE", help="what the LoRA will be used on")
    extract.add_argument("tuned", metavar="TUNED", help="what it will make of that")
    _add_rank_choice(extract)
    _add_precision(extract)
    _add_output(extract, "the LoRA file to write")
    resize = add_word(words, "resize", run_resize, "give a LoRA file another rank")
    resize.add_argument("file", type=Path, help="a file of any kind; it becomes plain LoRA")
    _add_rank_choice(resize)
    _add_precision(resize)
    _add_base(resize)
    _add_output(resize, "the LoRA file to write")
    scale = add_word(words, "scale", run_scale, "give the blocks of a LoRA file other strengths")
    scale.add_argument("file", type=Path, help="a file of any kind but DoRA")
    scale.add_argument(
        "pattern",
        nargs="+",
        metavar="PATTERN=FACTOR",
        help="layers and their factor, unet.down_blocks.*=0.5; the first that fits decides",
    )
    _add_precision(scale)
    _add_base(scale)
    _add_output(scale, "the LoRA file to write")


def _add_merge(words: Words) -> None:
    merge = add_word(words, "merge", run_merge, "merge LoRA files into one")
    _add_files(merge)
    merge.add_argument(
        "--method", choices=METHODS, default="svd", help="how; see the guide (default: svd)"
    )
    merge.add_argument(
        "--rank", type=int, default=0, help="of the result; 0 is exact, or the files' largest"
    )
    merge.add_argument(
        "--energy", type=float, default=1.0, help="keep this share, with the rank it takes"
    )
    merge.add_argument(
        "--density", type=float, default=0.5, help="ties and dare: share of numbers that stay"
    )
    merge.add_argument(
        "--majority-sign",
        choices=("total", "frequency"),
        default="total",
        help="ties: whether sizes or numbers of signs decide",
    )
    merge.add_argument("--seed", type=int, default=0, help="dare: what is drawn with")
    merge.add_argument(
        "--signs", action="store_true", help="count sign conflicts for the report, too"
    )
    _add_precision(merge)
    _add_base(merge)
    _add_output(merge, "the LoRA file to write")


def run_merge(args: argparse.Namespace) -> int:
    """Merges LoRA files and says how much they get in each other's way."""
    from trainer.commands import MergeOptions, MergeRequest, merge

    files = [split_weight(text) for text in args.file]
    options = MergeOptions(args.density, args.majority_sign, args.rank, args.energy, args.seed)
    base = _find_base(args)
    request = MergeRequest(
        files, args.to, args.method, options, args.precision, base, args.force, args.signs
    )
    report = merge(request)
    if args.json:
        print(json.dumps({"file": str(args.to), **report}, indent=1))
        return 0
    print(f"file: {args.to}")
    _tell_merge(report, [path.name for path, _ in files])
    return 0


def run_bake(args: argparse.Namespace) -> int:
    """Bakes LoRA files into a base model."""
    return _bake(args, out=False)


def run_subtract(args: argparse.Namespace) -> int:
    """Takes LoRA files out of a base model."""
    return _bake(args, out=True)


def run_extract(args: argparse.Namespace) -> int:
    """Makes a LoRA of the difference of two base models."""
    from trainer.commands import RankChoice, extract

    folder = args.workspace / "models"
    models = (find_base_model(args.base, folder), find_base_model(args.tuned, folder))
    choice = RankChoice(args.rank, args.conv_rank, args.energy, args.ratio)
    done = extract(models, args.to, choice, args.precision, force=args.force)
    if args.json:
        print(json.dumps({"file": str(args.to), **done}, indent=1))
        return 0
    print(f"file: {args.to}")
    _tell_kept(done["layers"])
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
    from trainer.commands import RankChoice, resize

    choice = RankChoice(args.rank, args.conv_rank, args.energy, args.ratio)
    base = _find_base(args)
    done = resize(args.file, args.to, choice, args.precision, base_model=base, force=args.force)
    if args.json:
        print(json.dumps({"file": str(args.to), **done}, indent=1))
        return 0
    print(f"file: {args.to}")
    _tell_kept(done["layers"])
    return 0


def run_scale(args: argparse.Namespace) -> int:
    """Gives the layers of a LoRA file other strengths."""
    from trainer.commands import scale

    patterns = [_split_factor(text) for text in args.pattern]
    base = _find_base(args)
    done = scale(args.file, args.to, patterns, args.precision, base_model=base, force=args.force)
    if args.json:
        print(json.dumps({"file": str(args.to), **done}, indent=1))
        return 0
    factors: dict[str, float] = done["factors"]
    changed = sum(factor != 1 for factor in factors.values())
    print(f"file: {args.to}\n{changed} of {len(factors)} layers have another strength.")
    return 0


def _bake(args: argparse.Namespace, *, out: bool) -> int:
    from trainer.commands import bake

    base = find_base_model(args.base_model, args.workspace / "models")
    files = [split_weight(text) for text in args.file]
    done = bake(base, files, args.to, force=args.force, subtract=out)
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


def _tell_merge(report: dict[str, Any], names: list[str]) -> None:
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


def _tell_kept(layers: list[dict[str, Any]]) -> None:
    ranks = sorted(layer["rank"] for layer in layers)
    spread = str(ranks[0]) if ranks[0] == ranks[-1] else f"{ranks[0]} to {ranks[-1]}"
    worst = min(layers, key=lambda layer: float(layer["energy"]))
    mean = sum(layer["energy"] for layer in layers) / len(layers)
    print(
        f"{len(layers)} layers of rank {spread}; {mean:.1%} of the energy is kept in the mean, "
        f"{worst['energy']:.1%} in {worst['layer']}."
    )


def _split_factor(text: str) -> tuple[str, float]:
    pattern, equals, factor = text.rpartition("=")
    try:
        return pattern, float(factor if equals and pattern else "")
    except ValueError:
        msg = f"{text} is no PATTERN=FACTOR, such as unet.down_blocks.*=0.5."
        raise RunError(msg) from None


def _find_base(args: argparse.Namespace) -> Path | None:
    if not args.base_model:
        return None
    return find_base_model(args.base_model, args.workspace / "models")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="+", metavar="FILE[:WEIGHT]", help="a LoRA file and its weight, else 1"
    )


def _add_rank_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rank", type=int, default=0, help="at most this rank")
    parser.add_argument(
        "--conv-rank", type=int, default=0, help="the same for convolutions; 0 takes --rank"
    )
    parser.add_argument(
        "--energy", type=float, default=1.0, help="keep this share of each layer's energy"
    )
    parser.add_argument(
        "--ratio",
        type=float,
        default=0.0,
        help="keep singular values of at least the largest over this number",
    )


def _add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp16", help="of the result (default: fp16)"
    )


def _add_base(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base-model",
        default="",
        metavar="MODEL",
        help="one that the files fit: a folder, a file or a hub id; DoRA needs it",
    )


def _add_output(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--to", type=Path, required=True, help=text)
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
