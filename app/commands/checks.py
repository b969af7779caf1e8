"""Datasets: what is wrong with one."""

import argparse
import json
from pathlib import Path

from app.commands.arguments import Words, add_word
from datasets_tools.checks import check_dataset


def add_words(words: Words) -> None:
    """Adds `check`."""
    check = add_word(words, "check", run_check, "say what is wrong with a dataset")
    check.add_argument("dataset", type=Path, help="folder of images with captions")
    check.add_argument("--trigger", default="", help="trigger word that captions should hold")
    check.add_argument("--resolution", type=int, default=512, help="training size in pixels")
    check.add_argument("--json", action="store_true", help="print the report as JSON")


def run_check(args: argparse.Namespace) -> int:
    """Says what is wrong with a dataset; the exit code is 1 when it cannot be trained on."""
    report = check_dataset(
        args.dataset, args.trigger, args.resolution, step=min(64, args.resolution)
    )
    if args.json:
        print(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
        return 0 if report.ok else 1
    print(f"{len(report.examples)} images can be read.")
    for finding in report.findings:
        print(f"{finding.severity}: {finding.message}")
    print("Ready to train." if report.ok else "This cannot be trained on yet.")
    return 0 if report.ok else 1
