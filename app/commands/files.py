"""LoRA files: what stands in one, and bringing it to others."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from app.commands.arguments import (
    Subparsers,
    add_command,
    add_run_or_settings,
    find_model,
    find_models,
    find_run,
    find_workspace,
    read_settings,
)
from app.commands.downloads import inspect_base_model
from trainer.formats.precision import PRECISIONS
from trainer.runs import RunError

_SHOWN_LETTERS = 160


def add_commands(commands: Subparsers) -> None:
    """Adds `inspect`, `verify`, `convert`, `header`, `bundle` and `upload`."""
    _add_inspect(commands)
    verify = add_command(
        commands, "verify", _run_verify, "check files against what programs can read"
    )
    verify.add_argument("file", type=Path, nargs="+", help="anybody's adapter files")
    verify.add_argument("--json", action="store_true", help="print the findings as JSON")
    verify.epilog = (
        "The exit code is 1 where a file has an error, which some program stumbles over."
    )
    _add_convert(commands)
    header = add_command(
        commands, "header", _run_header, "show the header that a run's file will have"
    )
    add_run_or_settings(header)
    header.add_argument("--json", action="store_true", help="print it as JSON")
    bundle = add_command(commands, "bundle", _run_bundle, "pack a file for the hub or for Civitai")
    bundle.add_argument("source", metavar="RUN|FILE", help="a run that has finished, or its file")
    bundle.add_argument(
        "--hub", type=Path, metavar="DIR",
        help="make a folder for the hub: model card, gallery, both formats",
    )  # fmt: skip
    bundle.add_argument(
        "--civitai", type=Path, metavar="ZIP",
        help="make a zip for Civitai's form: file, samples, the words to paste",
    )  # fmt: skip
    bundle.add_argument(
        "--base-model", default="", metavar="ID", help="the base model's hub id, for the card"
    )
    bundle.add_argument("--json", action="store_true", help="print what was made as JSON")
    upload = add_command(
        commands, "upload", _run_upload, "bring a folder of `bundle --hub` to the hub"
    )
    upload.add_argument("folder", type=Path, metavar="DIR", help="the folder")
    upload.add_argument("repository", metavar="OWNER/NAME", help="where to; it is made if need be")
    upload.add_argument("--private", action="store_true", help="a new one is seen by you alone")
    upload.epilog = "It needs a token that may write: see `lorasmith download --help`."


def _add_convert(commands: Subparsers) -> None:
    convert = add_command(
        commands, "convert", _run_convert, "give a file the layer names of another program"
    )
    convert.add_argument("file", type=Path, help="anybody's LoRA file")
    convert.add_argument(
        "--to", required=True, metavar="FORMAT",
        help="kohya, which all programs read, diffusers, omi (OneTrainer), comfyui, lycoris, peft, "
        "diffusers-old, kohya-diffusers, kohya-original, checkpoint or bare",
    )  # fmt: skip
    convert.add_argument(
        "--output", type=Path, metavar="PATH", help="the file to write; beside the other one else"
    )
    convert.add_argument(
        "--precision", default="", choices=("", *PRECISIONS), metavar="FORMAT",
        help="fp16, bf16 or fp32; the file's own else",
    )  # fmt: skip
    convert.add_argument(
        "--base-model", default="", metavar="MODEL", help="one that the file fits, if asked for"
    )
    convert.add_argument("--force", action="store_true", help="replace what is there")
    convert.add_argument("--json", action="store_true", help="print what came of it as JSON")
    convert.epilog = "What the file does stays equal, which is checked layer by layer."


def _add_inspect(commands: Subparsers) -> None:
    inspect = add_command(
        commands, "inspect", _run_inspect, "describe an adapter file or a base model"
    )
    inspect.add_argument(
        "file", type=Path, help="anybody's LoRA, LoHa, LoKr or DoRA file, or a base model"
    )
    inspect.add_argument(
        "--json", action="store_true", help="print it as JSON, with the header and the settings"
    )
    inspect.add_argument(
        "--singular-values", "--spectrum", action="store_true",
        help="show how strong each layer is and how much of its rank is used, instead",
    )  # fmt: skip
    inspect.add_argument(
        "--base-model", default="", metavar="MODEL",
        help="for --singular-values: one that the file fits, which DoRA needs",
    )  # fmt: skip
    inspect.add_argument(
        "--measure", action="store_true",
        help="for a base model: measure what it predicts by its answers to noised images",
    )  # fmt: skip
    inspect.add_argument(
        "--images", type=Path, metavar="DIR",
        help="for --measure: images with captions; without them plain shapes are taken",
    )  # fmt: skip
    inspect.add_argument(
        "--progress", action="store_true",
        help="for --measure: print how far it is, then the answer, as lines of JSON",
    )  # fmt: skip


def _run_inspect(args: argparse.Namespace) -> int:
    from trainer.commands import describe_as_text, describe_file, is_base_model, measure_file

    if args.measure or is_base_model(args.file):
        return inspect_base_model(args)
    if args.singular_values:
        base = find_model(args, args.base_model) if args.base_model else None
        values = measure_file(args.file, base)
        # On one line: of SDXL it holds sixty thousand numbers.
        print(json.dumps(values.to_dict()) if args.json else values.to_text())
    elif args.json:
        print(json.dumps(describe_file(args.file), indent=1, ensure_ascii=False))
    else:
        print(describe_as_text(args.file))
    return 0


def _run_verify(args: argparse.Namespace) -> int:
    from trainer.commands import list_findings, verify_files

    verified = verify_files(args.file)
    if args.json:
        print(json.dumps(list_findings(verified), indent=1, ensure_ascii=False))
    else:
        for path, findings in verified:
            print(f"{path}: {_count(findings, 'finding')}")
            for finding in findings:
                print(f"  {finding.to_line()}")
    errors = [each for _, findings in verified for each in findings if each.severity == "error"]
    return 1 if errors else 0


def _run_convert(args: argparse.Namespace) -> int:
    from trainer.commands import convert

    to = args.output or args.file.with_name(f"{args.file.stem}-{args.to}.safetensors")
    base = find_model(args, args.base_model) if args.base_model else None
    report = convert(
        args.file, args.to, to, precision=args.precision, base_model=base, force=args.force
    )
    if args.json:
        print(json.dumps({"file": str(to), **report}, indent=1))
        return 0
    print(f"file: {to}", f"{_count(range(report['layers']), 'layer')} converted.", sep="\n")
    for path in report["embeddings"]:
        print(f"The embedding that was bundled with them is in {path}.")
    return 0


def _run_header(args: argparse.Namespace) -> int:
    config = read_settings(args)
    run = find_run(args) if args.run else None
    from trainer.commands import expect_header

    header = expect_header(config, run, find_models(args))
    if args.json:
        print(json.dumps(header, indent=1, ensure_ascii=False))
        return 0
    for key, value in header.items():
        cut = f"{value[:_SHOWN_LETTERS]}... ({len(value):,} letters)"
        print(f"{key}: {value if len(value) <= _SHOWN_LETTERS else cut}")
    return 0


def _run_bundle(args: argparse.Namespace) -> int:
    if not args.hub and not args.civitai:
        raise RunError("Choose what to make: --hub DIR, --civitai ZIP or both.")
    source, known = Path(args.source), args.workspace / "runs" / args.source
    if not source.exists() and known.is_dir():
        source = find_workspace(args) / "runs" / args.source
    from trainer.commands import make_civitai_zip, make_hub_folder

    made = {}
    if args.hub:
        made["folder"] = str(make_hub_folder(source, args.hub, args.base_model))
    if args.civitai:
        made["zip"] = str(make_civitai_zip(source, args.civitai))
    print(json.dumps(made) if args.json else "\n".join(f"{k}: {v}" for k, v in made.items()))
    return 0


def _run_upload(args: argparse.Namespace) -> int:
    from trainer.commands import find_token, upload_hub_folder

    token = find_token()
    print(f"uploaded: {upload_hub_folder(args.folder, args.repository, args.private, token)}")
    return 0


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things) or 'no'} {name}" + ("s" if len(things) != 1 else "")
