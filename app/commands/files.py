"""LoRA files: what stands in one, and bringing it to others."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from app.commands.arguments import (
    Words,
    add_run_or_settings,
    add_word,
    find_models,
    find_run,
    read_settings,
)
from trainer.runs import RunError
from trainer.runs.base_models import find_base_model

_SHOWN_LETTERS = 160


def add_words(words: Words) -> None:
    """Adds `inspect`, `verify`, `header`, `bundle` and `upload`."""
    inspect = add_word(words, "inspect", run_inspect, "say what an adapter file is")
    inspect.add_argument("file", type=Path, help="anybody's LoRA, LoHa, LoKr or DoRA file")
    inspect.add_argument(
        "--json", action="store_true", help="print it as JSON, with the header and the settings"
    )
    inspect.add_argument(
        "--spectrum",
        action="store_true",
        help="say how strong each layer is and how much of its rank is used, instead",
    )
    inspect.add_argument(
        "--base-model",
        default="",
        metavar="MODEL",
        help="for --spectrum: one that the file fits, which DoRA needs",
    )
    verify = add_word(words, "verify", run_verify, "check files against what programs can read")
    verify.add_argument("file", type=Path, nargs="+", help="anybody's adapter files")
    verify.add_argument("--json", action="store_true", help="print the findings as JSON")
    verify.epilog = (
        "The exit code is 1 where a file has an error, which some program stumbles over."
    )
    header = add_word(words, "header", run_header, "show what a run's file will say about itself")
    add_run_or_settings(header)
    header.add_argument("--json", action="store_true", help="print it as JSON")
    bundle = add_word(words, "bundle", run_bundle, "pack a file for the hub or for Civitai")
    bundle.add_argument("source", metavar="RUN|FILE", help="a run that has finished, or its file")
    bundle.add_argument(
        "--hub",
        type=Path,
        metavar="DIR",
        help="make a folder for the hub: model card, gallery, both formats",
    )
    bundle.add_argument(
        "--civitai",
        type=Path,
        metavar="ZIP",
        help="make a zip for Civitai's form: file, samples, the words to paste",
    )
    bundle.add_argument(
        "--base-model", default="", metavar="ID", help="the base model's hub id, for the card"
    )
    bundle.add_argument("--json", action="store_true", help="print what was made as JSON")
    upload = add_word(words, "upload", run_upload, "bring a folder of `bundle --hub` to the hub")
    upload.add_argument("folder", type=Path, metavar="DIR", help="the folder")
    upload.add_argument("repository", metavar="OWNER/NAME", help="where to; it is made if need be")
    upload.add_argument("--private", action="store_true", help="a new one is seen by you alone")
    upload.epilog = "It needs a token that may write: see `lorasmith download --help`."


def run_inspect(args: argparse.Namespace) -> int:
    """Says what a file is and which programs read it, or what its numbers look like."""
    if args.spectrum:
        return _tell_spectrum(args)
    from trainer.commands import describe_file, tell_file

    if args.json:
        print(json.dumps(describe_file(args.file), indent=1, ensure_ascii=False))
    else:
        print(tell_file(args.file))
    return 0


def _tell_spectrum(args: argparse.Namespace) -> int:
    from trainer.commands import measure_file

    base = find_base_model(args.base_model, args.workspace / "models") if args.base_model else None
    spectrum = measure_file(args.file, base)
    # On one line: of SDXL it holds sixty thousand numbers.
    print(json.dumps(spectrum.to_dict()) if args.json else spectrum.to_text())
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Checks files, one line per finding; the exit code is 1 where there is an error."""
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


def run_header(args: argparse.Namespace) -> int:
    """Shows the header of a file before it is written."""
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


def run_bundle(args: argparse.Namespace) -> int:
    """Packs a file with all that is shown beside it."""
    if not args.hub and not args.civitai:
        msg = "Say what to make: --hub DIR, --civitai ZIP or both."
        raise RunError(msg)
    source, known = Path(args.source), args.workspace / "runs" / args.source
    if not source.exists() and known.is_dir():
        source = known
    from trainer.commands import make_civitai_zip, make_hub_folder

    made = {}
    if args.hub:
        made["folder"] = str(make_hub_folder(source, args.hub, args.base_model))
    if args.civitai:
        made["zip"] = str(make_civitai_zip(source, args.civitai))
    print(json.dumps(made) if args.json else "\n".join(f"{k}: {v}" for k, v in made.items()))
    return 0


def run_upload(args: argparse.Namespace) -> int:
    """Uploads a folder to the hub."""
    from trainer.commands import find_token, upload_hub_folder

    token = find_token()
    print(f"uploaded: {upload_hub_folder(args.folder, args.repository, args.private, token)}")
    return 0


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things) or 'no'} {name}" + ("s" if len(things) != 1 else "")
