"""Automatic captions: who can write them, and having a dataset captioned."""

import argparse
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from app.commands.arguments import (
    Subparsers,
    add_command,
    add_options,
    find_workspace,
    read_options,
)
from datasets_tools.captioners.extras import require_package
from datasets_tools.captioners.options import Captioner, CaptionOptions
from datasets_tools.captioners.places import find_model, is_available, place_model
from datasets_tools.captioners.table import CAPTIONERS, check_options, find_captioner
from datasets_tools.captioning import Captioned, Outcome, caption_folder
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import scan_folder
from trainer.runs.base_models import HubId, parse_hub_id

Report = Callable[[dict[str, Any]], None]


def add_commands(commands: Subparsers) -> None:
    """Adds `caption` and `captioners`."""
    caption = add_command(
        commands, "caption", _run_caption, "have the images of a dataset captioned"
    )
    caption.add_argument(
        "dataset", type=Path, help="folder of images; captions are put beside them"
    )
    add_options(caption, CaptionOptions)
    caption.add_argument(
        "--download", action="store_true", help="fetch the model from the hub, if it is not here"
    )
    caption.add_argument("--json", action="store_true", help="print what happens as lines of JSON")
    caption.epilog = (
        "Each caption is written as soon as it is made, so an interruption loses nothing, and with "
        "--existing keep the same command goes on. `lorasmith captions DATASET --undo` restores "
        "the captions. What was edited meanwhile stays. The exit code is 1 when an image could "
        "not be captioned. `lorasmith docs captions` lists which captioner suits which base model."
    )
    captioners = add_command(
        commands, "captioners", _run_captioners, "list the captioners, and which of them are here"
    )
    captioners.add_argument("--json", action="store_true", help="print the list as JSON")


def _run_caption(args: argparse.Namespace) -> int:
    options = read_options(args, CaptionOptions)
    captioner = find_captioner(options.captioner)
    check_options(options.captioner, options)
    scan_folder(args.dataset)  # no gigabytes are fetched for a folder that is not there
    if captioner.package:
        require_package(captioner.package, options.captioner)
    report = _print_event if args.json else _print_line
    folder = _find_folder(args, options, captioner, report)
    report({"event": "load"})
    tally = caption_folder(
        args.dataset,
        captioner.load(folder, options),
        options.existing,
        lambda done: report({"event": "caption", **asdict(done)}),
        f"Suggested by {options.captioner}",
    )
    report({"event": "done", **tally})
    if tally["written"] and not args.json:
        dataset = shlex.quote(str(args.dataset))
        print(f"Undo it with: lorasmith captions {dataset} --undo")
    return 1 if tally["failed"] else 0


def _run_captioners(args: argparse.Namespace) -> int:
    workspace = find_workspace(args)
    listed = [_describe(name, captioner, workspace) for name, captioner in CAPTIONERS.items()]
    if args.json:
        print(json.dumps(listed, indent=1, ensure_ascii=False))
        return 0
    for each in listed:
        print(f"{each['name']}  {each['title']}. {each['summary']}")
        if each["model"]:
            size = CAPTIONERS[each["name"]].size
            print(f"    {each['model']}, {size}, {each['licence']}")
        where = f"in {each['place']}"
        missing = "add --download to fetch it" if each["model"] else "missing"
        print(f"    {where if each['available'] else f'not {where}; {missing}'}")
        if each["needs"]:
            print(f"    {each['needs']}")
    return 0


def _describe(name: str, captioner: Captioner, workspace: Path) -> dict[str, Any]:
    needs = ""
    if captioner.package:
        try:
            require_package(captioner.package, name)
        except DatasetError as error:
            needs = str(error)
    return {
        "name": name,
        "title": captioner.title,
        "summary": captioner.summary,
        "model": captioner.model,
        "licence": captioner.licence,
        "size_bytes": captioner.size_bytes,
        "available": is_available(name, workspace),
        "place": str(place_model(name, workspace)),
        "takes": captioner.takes,
        "needs": needs,
    }


def _find_folder(
    args: argparse.Namespace, options: CaptionOptions, captioner: Captioner, report: Report
) -> Path:
    """Returns the model's folder, downloaded from the hub where that is allowed."""
    name, workspace = options.captioner, find_workspace(args, create=args.download)
    path = Path(options.model).expanduser() if options.model else None
    if path is not None and path.exists():
        return find_model(name, workspace, path)
    hub_id = parse_hub_id(options.model or captioner.model)
    if hub_id is None:
        return find_model(name, workspace, path)
    if not captioner.files:
        raise DatasetError(f"The captioner {name} takes no model from the hub. Leave out --model.")
    own = str(hub_id) == captioner.model
    place = place_model(name, workspace, "" if own else hub_id.entry)
    if not place.exists() and args.download:
        return _download(hub_id, place, captioner, report if args.json else None)
    if not place.exists() and not own:
        raise DatasetError(
            f"{hub_id} is not here: there is no such folder, and it was not downloaded to "
            f"{place.parent}. Add --download to fetch it from the hub."
        )
    return find_model(name, workspace, place if place.exists() else None)


def _download(hub_id: HubId, place: Path, captioner: Captioner, report: Report | None) -> Path:
    from trainer.commands import download_captioner

    def update(done: int, total: int) -> None:
        if report is not None:
            report({"event": "download", "done": done, "total": total})

    return download_captioner(str(hub_id), place, captioner.files, update if report else None)


def _print_event(event: dict[str, Any]) -> None:
    # In ASCII: a file's name need not be text, and then it could not be printed otherwise.
    print(json.dumps(event))


def _print_line(event: dict[str, Any]) -> None:
    if event["event"] == "caption":
        done = Captioned(**{key: value for key, value in event.items() if key != "event"})
        line = done.caption if done.outcome == "written" else done.outcome
        if done.message:
            line = f"{line}: {done.message}"
        print(f"{done.done}/{done.total} {show_name(Path(done.image))}  {line}")
    elif event["event"] == "load":
        print("Loading the captioner …")
    elif event["event"] == "done":
        rest = ", ".join(f"{event[name]} {name}" for name in get_args(Outcome)[1:])
        count = event["written"]
        print(f"{count} {'caption was' if count == 1 else 'captions were'} written; {rest}.")
