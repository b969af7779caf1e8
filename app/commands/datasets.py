"""Datasets: what is wrong with one, its tags, one change of all captions, and undoing it."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from app.commands.arguments import Subparsers, add_command
from app.dataset.text import imported
from datasets_tools.edits import (
    CaptionChange,
    change_by_adding,
    change_by_removing,
    change_words,
    count_tags,
)
from datasets_tools.errors import DatasetError
from datasets_tools.examples import scan_folder
from datasets_tools.groups import describe_share, measure_shares
from datasets_tools.intake import list_sources, take_in
from datasets_tools.names import explain_path
from datasets_tools.prompt_syntax import change_by_cleaning
from datasets_tools.rewriting import find_last_rewriting, rewrite_all, undo_rewriting
from trainer.config import list_goals

if TYPE_CHECKING:
    from datasets_tools.checks.report import CheckReport
    from datasets_tools.checks.subject import CheckFinding

CHECKS_FOLDER = "checks"  # of a workspace: what was measured on images


def add_commands(commands: Subparsers) -> None:
    """Adds `check` and `captions`."""
    check = add_command(commands, "check", _run_check, "list what is wrong with a dataset")
    check.add_argument("dataset", type=Path, help="folder of images with captions")
    check.add_argument("--trigger", default="", help="trigger word that captions should hold")
    check.add_argument("--resolution", type=int, default=512, help="training size in pixels")
    check.add_argument(
        "--goal", choices=list_goals(), default="", help="what is to be learned, if it is known"
    )
    check.add_argument(
        "--fix", metavar="NAME", help="repair what a check found, by its name in the list"
    )
    check.add_argument(
        "--undo", action="store_true", help="undo the last --fix that moved or cropped images"
    )
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.epilog = (
        "Images that --fix moves or replaces go to the trash in the dataset's folder. What it "
        "changes in captions is undone by: lorasmith captions DATASET --undo."
    )
    taken = add_command(
        commands, "import", _run_import, "take images into a dataset with captions and masks"
    )
    taken.add_argument("sources", type=Path, nargs="+", help="images, folders and zip archives")
    taken.add_argument("--to", type=Path, required=True, help="folder of the dataset")
    taken.epilog = (
        "Images are encoded anew, so that nothing of them but their pixels arrives. Captions are "
        "read from .txt, .caption, "
        "a.png.txt and metadata files, masks from a-masklabel.png and a folder masks. Folders like "
        "10_cat keep their repeats. What is not used is listed."
    )
    captions = add_command(
        commands, "captions", _run_captions, "list the tags of a dataset, or change all captions"
    )
    captions.add_argument("dataset", type=Path, help="folder of images with captions")
    change = captions.add_mutually_exclusive_group()
    change.add_argument(
        "--replace",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="put other words where some whole words stand, in any case; '' takes them out",
    )
    change.add_argument(
        "--add", metavar="TAG", help="add a tag to every caption without it; several with commas"
    )
    change.add_argument("--remove", metavar="TAG", help="take a tag out of every caption")
    change.add_argument(
        "--clean", action="store_true", help="take prompt syntax out: weights, wildcards, <lora:…>"
    )
    change.add_argument("--undo", action="store_true", help="undo the last change of many captions")
    captions.add_argument(
        "--first", action="store_true", help="with --add: put the tag first, not last"
    )
    captions.add_argument("--json", action="store_true", help="print the outcome as JSON")
    captions.epilog = (
        "A tag is what stands between two commas. Without a change the tags are listed, the most "
        "frequent first. --undo undoes suggested captions, too; one that was edited since stays as "
        "it is."
    )


def _run_import(args: argparse.Namespace) -> int:
    for path in args.sources:
        if not path.exists():
            raise DatasetError(f"There is no file or folder {path}. Check the path.")
    if problem := explain_path(args.to):
        raise DatasetError(problem)
    done = take_in(list_sources(args.sources), args.to)
    print(imported(len(done.images), done.known, done.captions, done.masks))
    for line in (*done.unused, *done.refused):
        print(line)
    return 1 if done.refused else 0


def _run_captions(args: argparse.Namespace) -> int:
    if args.first and args.add is None:
        raise DatasetError(
            "--first is the place where --add puts its tag, so it has no meaning alone."
        )
    if args.undo:
        return _undo(args)
    change = _read_change(args)
    return _list(args) if change is None else _change(args, change)


def _read_change(args: argparse.Namespace) -> CaptionChange | None:
    if args.replace is not None:
        return change_words(*args.replace)
    if args.clean:
        return change_by_cleaning()
    if args.add is not None:
        return change_by_adding(args.add, first=args.first)
    return change_by_removing(args.remove) if args.remove is not None else None


def _change(args: argparse.Namespace, change: CaptionChange) -> int:
    count = rewrite_all(args.dataset, change)
    if args.json:
        print(json.dumps({"what": change.what, "changed": count}, ensure_ascii=False))
    elif count:
        print(f"{change.what}: {_count(count)} changed.")
        dataset = shlex.quote(str(args.dataset))
        print(f"Undo it with: lorasmith captions {dataset} --undo")
    else:
        print(f"{change.what}: no caption was changed by that.")
    return 0


def _undo(args: argparse.Namespace) -> int:
    if not args.dataset.is_dir():
        raise DatasetError(f"There is no folder {args.dataset}. Check the path.")
    done = undo_rewriting(args.dataset)
    if args.json:
        content = {"what": done.what, "restored": done.restored, "kept": done.kept} if done else {}
        print(json.dumps(content, ensure_ascii=False))
    elif done is None:
        print(f"There is no change of captions to undo in {args.dataset}.")
    else:
        print(f"Undone: {done.what}. {_count(done.restored)} put back.")
        for name in done.kept:
            print(f"{name} was changed or removed since, and stays as it is.")
    return 0


def _list(args: argparse.Namespace) -> int:
    examples, findings = scan_folder(args.dataset)
    tags = count_tags(example.caption for example in examples)
    last = find_last_rewriting(args.dataset)
    if args.json:
        listed = [{"tag": tag, "count": count} for tag, count in tags]
        content = {"images": len(examples), "tags": listed, "undo": last or ""}
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return 0
    for tag, count in tags:
        print(f"{count:5} {tag}")
    bare = sum(not example.caption for example in examples)
    print(f"{len(examples)} images, {bare} without a caption, {len(tags)} different tags.")
    for finding in findings:
        print(f"{finding.severity}: {finding.message}")
    if last is not None:
        print(f"--undo undoes: {last}")
    return 0


def _count(captions: int) -> str:
    return f"{captions} {'caption was' if captions == 1 else 'captions were'}"


def _run_check(args: argparse.Namespace) -> int:
    from datasets_tools.checks.cache import MeasureCache, place_cache
    from datasets_tools.checks.remedies import fix_finding
    from datasets_tools.checks.report import CheckOptions, check_dataset

    if args.undo:
        return _undo_fix(args)
    options = CheckOptions(args.trigger, args.resolution, min(64, args.resolution), args.goal)
    place = args.workspace / CHECKS_FOLDER if args.workspace.is_dir() else None
    cache = MeasureCache(place_cache(place, args.dataset) if place else None)
    report = check_dataset(args.dataset, options, cache, make_progress(args.json))
    if args.fix is not None:
        finding = report.find(args.fix)
        if finding is None:
            raise DatasetError(_explain_fix(args.fix, report))
        fixed = fix_finding(args.dataset, finding, options)
        print(json.dumps(asdict(fixed), ensure_ascii=False) if args.json else fixed.message)
        return 0
    if args.json:
        print(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
        return 0 if report.ok else 1
    print(f"{len(report.examples)} images can be read.")
    shares = measure_shares([(example.group, example.repeats) for example in report.examples])
    for share in shares if len(shares) > 1 else ():
        print(f"  {describe_share(share)}")
    for line in list_findings(report.findings):
        print(line)
    print("Ready to train." if report.ok else "This cannot be trained on yet.")
    return 0 if report.ok else 1


def list_findings(findings: "list[CheckFinding]") -> list[str]:
    """Returns a line for each finding, and one for its remedy."""
    from datasets_tools.checks.remedies import LABELS

    lines = []
    for finding in findings:
        lines.append(f"{finding.severity}: {finding.message}")
        if finding.remedy in LABELS:
            images = f"{len(finding.names)} {'image' if len(finding.names) == 1 else 'images'}"
            lines.append(f"    --fix {finding.code}: {LABELS[finding.remedy].format(images)}")
        elif finding.remedy == "suggest":
            lines.append("    lorasmith caption suggests captions")
    return lines


def make_progress(quiet: bool) -> Callable[[int, int], None] | None:
    """Returns what shows how many images were looked at, on a terminal; None for no terminal."""
    if quiet or not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else "\r"
        if done % 10 == 0 or done == total:
            print(f"Looking at the images: {done} of {total}", end=end, file=sys.stderr, flush=True)

    return show


def _undo_fix(args: argparse.Namespace) -> int:
    from datasets_tools.checks.remedies import undo_fix

    fixed = undo_fix(args.dataset)
    if args.json:
        print(json.dumps(asdict(fixed) if fixed else {}, ensure_ascii=False))
    else:
        print(fixed.message if fixed else f"There is no fix to undo in {args.dataset}.")
    return 0


def _explain_fix(name: str, report: "CheckReport") -> str:
    """Returns why a name is none of a finding, with those that are."""
    from datasets_tools.checks.remedies import REMEDIES

    names = [one.code for one in report.findings if one.remedy in REMEDIES]
    offer = f"What can be fixed: {', '.join(names)}." if names else "There is nothing to fix."
    return f"The check found no “{name}” here. {offer}"
