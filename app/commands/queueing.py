"""The queue of runs: what is trained next, on which device, and when."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from app.commands.arguments import (
    Subparsers,
    add_command,
    add_run_or_settings,
    find_models,
    find_run,
    find_workspace,
    find_workspace_of,
    read_settings,
)
from trainer.config import change_settings, check_settings
from trainer.runs import RunError, RunFolder, create_run, save_config
from trainer.runs.base_models import locate_base_model
from trainer.runs.queue import (
    Row,
    add_run,
    ensure_worker,
    has_queue_worker,
    list_rows,
    move_run,
    pause_queue,
    read_queue,
    remove_run,
    serve_queue,
    start_queue,
)
from trainer.runs.queue.times import read_time, show_time

_COMMAND = (sys.executable, "-m", "app.cli")
_AT = "not before this time: 22:30, “2026-12-24 22:30”, +2h, +30min, or now"


def add_commands(commands: Subparsers) -> None:
    """Adds `queue` with the commands below it."""
    text = "train runs one after the other on each device"
    queue = commands.add_parser("queue", help=text, description=f"{text[0].upper()}{text[1:]}.")
    below = queue.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = add_command(
        below, "add", _run_add, "add a run to the end of the queue, or make a new one"
    )
    add_run_or_settings(add)
    add.add_argument("--at", default="", metavar="TIME", help=_AT)
    add.add_argument(
        "--device", default="", metavar="DEVICE",
        help="where to train (train.device): auto, cpu, cuda, cuda:1 or mps",
    )  # fmt: skip
    listing = add_command(below, "list", _run_list, "list the runs that wait or are being trained")
    listing.add_argument("--json", action="store_true", help="print the queue as JSON")
    move = add_command(below, "move", _run_move, "move a run to another place, or to another time")
    move.add_argument("run", help="a run's folder or id")
    move.add_argument(
        "place", nargs="?", type=int, default=0, help="1 is the first; leave out to keep its place"
    )
    move.add_argument("--at", metavar="TIME", help=_AT)
    remove = add_command(below, "remove", _run_remove, "remove a run from the queue; the run stays")
    remove.add_argument("run", help="a run's folder or id")
    add_command(below, "pause", _run_pause, "start no further run; those that are running go on")
    add_command(below, "start", _run_start, "start runs again after a pause")
    work = add_command(
        below, "work", _run_work, "work on the queue until it is empty; the others start it"
    )
    work.epilog = "It can be killed at any time: the runs go on, and the next one takes over."
    devices = add_command(below, "devices", _run_devices, "list the devices that take runs")
    devices.add_argument("--json", action="store_true", help="print their names as JSON")


def _run_add(args: argparse.Namespace) -> int:
    at, config, models = read_time(args.at), read_settings(args), find_models(args)
    if args.device:
        config = change_settings(config, {"train.device": args.device})
    if not args.run:  # before there is a folder of a run
        locate_base_model(config.base_model, models)
        check_settings(config)
    from trainer.commands import check_before_start

    warnings = check_before_start(config, models)
    if args.run:
        run = find_run(args)
        root = find_workspace_of(run)
    else:
        root = find_workspace(args, create=True).resolve()
        run = create_run(root / "runs", config)
    queue = add_run(root, run, at)
    if args.run and args.device:
        save_config(run, config)
    print(f"run: {run.path}")
    print("".join(f"{line}\n" for line in warnings), end="")
    when = f", not before {show_time(at)}" if at else ""
    print(f"place {len(queue.entries)} in the queue{when}")
    _go_on(root)
    return 0


def _go_on(root: Path) -> None:
    """Starts the worker where it is needed, and reports what a person must know."""
    queue = read_queue(root)
    if queue.notice:
        print(queue.notice)
    if queue.paused:
        print("The queue is paused. `lorasmith queue start` goes on.")
    ensure_worker(root, _COMMAND, at_once=True)


def _run_list(args: argparse.Namespace) -> int:
    root = find_workspace(args)
    queue, rows = read_queue(root), list_rows(root)
    if args.json:
        facts = {"paused": queue.paused, "notice": queue.notice, "worker": has_queue_worker(root)}
        facts["runs"] = [asdict(row) for row in rows]
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return 0
    if not rows:
        print("The queue is empty. `lorasmith queue add` puts a run into it.")
    for row in rows:
        print(f"{row.place}  {row.run}  {row.device}  {_describe(row)}")
    if queue.notice:
        print(queue.notice)
    if queue.paused:
        print("The queue is paused. `lorasmith queue start` goes on.")
    elif rows and not has_queue_worker(root):
        print("No worker is running. `lorasmith queue start`, or the app, starts one.")
    return 0


def _describe(row: Row) -> str:
    status = row.status
    if row.state == "running":
        left = f"  {status.seconds_left:.0f} s left" if status.seconds_left else ""
        return f"{status.state if status.live else 'starting'}  {status.step}/{status.steps}{left}"
    steps = f"  {status.step}/{status.steps}" if status.step else ""
    until = f" until {show_time(row.at)}" if row.at else ""
    again = ", its process ended unexpectedly" if row.state == "again" else ""
    return f"waiting{until}{again}{steps}"


def _run_move(args: argparse.Namespace) -> int:
    if not args.place and args.at is None:
        raise RunError("Give a place, such as 1 for the first, or --at TIME.")
    root, run = _find(args)
    at = None if args.at is None else read_time(args.at)
    queue = move_run(root, run, args.place, at)
    entry = queue.find(run)
    when = f", not before {show_time(entry.at)}" if entry.at else ""
    print(f"place {queue.entries.index(entry) + 1} of {len(queue.entries)}{when}")
    return 0


def _run_remove(args: argparse.Namespace) -> int:
    root, run = _find(args)
    remove_run(root, run)
    print(f"removed {run} from the queue; the run is still in {root / 'runs'}")
    return 0


def _find(args: argparse.Namespace) -> tuple[Path, str]:
    """Returns the workspace and the id of a run, which may be gone already."""
    root = find_workspace(args)
    if args.run in read_queue(root).by_run:
        return root, args.run
    run: RunFolder = find_run(args)
    return find_workspace_of(run), run.id


def _run_pause(args: argparse.Namespace) -> int:
    pause_queue(find_workspace(args))
    print("paused; runs that are being trained go on")
    return 0


def _run_start(args: argparse.Namespace) -> int:
    root = find_workspace(args).resolve()
    queue = start_queue(root)
    print(f"started; {len(queue.entries)} in the queue")
    _go_on(root)
    return 0


def _run_work(args: argparse.Namespace) -> int:
    serve_queue(find_workspace(args, create=True).resolve(), _COMMAND)
    return 0


def _run_devices(args: argparse.Namespace) -> int:
    from trainer.commands import list_device_names

    names = list_device_names()
    print(json.dumps(names) if args.json else "\n".join(names))
    return 0
