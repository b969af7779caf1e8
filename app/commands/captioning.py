"""Automatic captions: who can write them, and having a dataset captioned."""

import argparse
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from app.commands.arguments import Words, add_word
from datasets_tools.captioners.extras import require_package
from datasets_tools.captioners.options import Captioner, CaptionerOptions
from datasets_tools.captioners.places import find_model, is_available, place_model
from datasets_tools.captioners.table import CAPTIONERS, check_options, find_captioner
from datasets_tools.captioning import Captioned, Existing, Outcome, caption_folder
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import scan_folder
from trainer.runs.base_models import HubId, parse_hub_id

Say = Callable[[dict[str, Any]], None]


def add_words(words: Words) -> None:
    """Adds `caption` and `captioners`."""
    caption = add_word(words, "caption", run_caption, "have the images of a dataset captioned")
    caption.add_argument(
        "dataset", type=Path, help="folder of images; captions are put beside them"
    )
    caption.add_argument(
        "--captioner",
        default="starter",
        metavar="NAME",
        help="who writes them: %(default)s, or another that `lorasmith captioners` lists",
    )
    caption.add_argument(
        "--existing",
        choices=get_args(Existing),
        default="keep",
        help="what becomes of captions that are there: kept (the default), the new one put behind "
        "with a comma, or replaced",
    )
    caption.add_argument(
        "--model",
        default="",
        metavar="FOLDER_OR_HUB_ID",
        help="another model of the same kind: its folder, or OWNER/NAME",
    )
    caption.add_argument(
        "--download", action="store_true", help="fetch the model from the hub, if it is not here"
    )
    caption.add_argument(
        "--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where it computes"
    )
    caption.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="how sure it must be, 0 to 1; 0 takes its own (starter, tagger)",
    )
    caption.add_argument(
        "--prompt",
        default="",
        help="how a caption begins (blip), the task (florence2), the instruction (vlm)",
    )
    caption.add_argument(
        "--max-words", type=int, default=0, help="a longer caption is cut; 0 never cuts"
    )
    caption.add_argument("--json", action="store_true", help="print what happens as lines of JSON")
    caption.epilog = (
        "Each caption is written as soon as it is made, so an interruption loses nothing, and with "
        "--existing keep the same command goes on. `lorasmith captions DATASET --undo` takes the "
        "captions back. What was edited meanwhile stays. The exit code is 1 when an image could "
        "not be captioned. docs/captions.md says which captioner suits which base model."
    )
    captioners = add_word(
        words, "captioners", run_captioners, "list the captioners, and which of them are here"
    )
    captioners.add_argument("--json", action="store_true", help="print the list as JSON")


def run_caption(args: argparse.Namespace) -> int:
    """Captions a dataset; the exit code is 1 when an image could not be captioned.

    Raises:
        DatasetError: the dataset, the captioner or an option is not as it should be.
        HubError: the model could not be fetched.
    """
    options = CaptionerOptions(args.device, args.threshold, args.prompt, args.max_words)
    captioner = find_captioner(args.captioner)
    check_options(args.captioner, options)
    scan_folder(args.dataset)  # no gigabytes are fetched for a folder that is not there
    if captioner.package:
        require_package(captioner.package, args.captioner)
    say = _print_event if args.json else _print_line
    folder = _find_folder(args, captioner, say)
    say({"event": "load"})
    tally = caption_folder(
        args.dataset,
        captioner.load(folder, options),
        args.existing,
        lambda done: say({"event": "caption", **asdict(done)}),
        f"Suggested by {args.captioner}",
    )
    say({"event": "done", **tally})
    if tally["written"] and not args.json:
        dataset = shlex.quote(str(args.dataset))
        print(f"Take the captions back with: lorasmith captions {dataset} --undo")
    return 1 if tally["failed"] else 0


def run_captioners(args: argparse.Namespace) -> int:
    """Lists the captioners."""
    listed = [_describe(name, captioner, args.workspace) for name, captioner in CAPTIONERS.items()]
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


def _find_folder(args: argparse.Namespace, captioner: Captioner, say: Say) -> Path:
    """Returns the model's folder, fetched from the hub where that was asked for."""
    path = Path(args.model).expanduser() if args.model else None
    if path is not None and path.exists():
        return find_model(args.captioner, args.workspace, path)
    wanted = parse_hub_id(args.model or captioner.model)
    if wanted is None:
        return find_model(args.captioner, args.workspace, path)
    if not captioner.files:
        msg = f"The captioner {args.captioner} takes no model from the hub. Leave out --model."
        raise DatasetError(msg)
    own = str(wanted) == captioner.model
    place = place_model(args.captioner, args.workspace, "" if own else wanted.entry)
    if not place.exists() and args.download:
        return _download(wanted, place, captioner, None if not args.json else say)
    if not place.exists() and not own:
        msg = (
            f"{wanted} is not here: there is no such folder, and it was not downloaded to "
            f"{place.parent}. Add --download to fetch it from the hub."
        )
        raise DatasetError(msg)
    return find_model(args.captioner, args.workspace, place if place.exists() else None)


def _download(wanted: HubId, place: Path, captioner: Captioner, say: Say | None) -> Path:
    from trainer.commands import download_captioner

    def report(done: int, total: int) -> None:
        if say is not None:
            say({"event": "download", "done": done, "total": total})

    return download_captioner(str(wanted), place, captioner.files, report if say else None)


def _print_event(event: dict[str, Any]) -> None:
    # In ASCII: a file's name need not be text, and then it could not be printed otherwise.
    print(json.dumps(event))


def _print_line(event: dict[str, Any]) -> None:
    if event["event"] == "caption":
        done = Captioned(**{key: value for key, value in event.items() if key != "event"})
        told = done.caption if done.outcome == "written" else done.outcome
        if done.message:
            told = f"{told}: {done.message}"
        print(f"{done.done}/{done.total} {show_name(Path(done.image))}  {told}")
    elif event["event"] == "load":
        print("Loading the captioner …")
    elif event["event"] == "done":
        rest = ", ".join(f"{event[name]} {name}" for name in get_args(Outcome)[1:])
        count = event["written"]
        print(f"{count} {'caption was' if count == 1 else 'captions were'} written; {rest}.")
