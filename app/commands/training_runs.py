"""Runs: starting them, requests to them, and their state."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

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
from app.commands.downloads import save_measured
from trainer.config import (
    BaseModelConfig,
    change_settings,
    check_settings,
    parse_sample_prompt,
)
from trainer.runs import (
    RunError,
    RunFolder,
    create_run,
    end_run,
    list_runs,
    read_events,
    read_status,
    request,
    wait_for_end,
)
from trainer.runs.base_models import is_hub_id, locate_base_model
from trainer.runs.control import Request
from trainer.runs.queue import own_devices, own_free_devices, use_devices
from trainer.runs.workspace import is_workspace


def add_commands(commands: Subparsers) -> None:
    """Adds `train`, `ask`, `status` and `export`."""
    train = add_command(commands, "train", _run_train, "start, resume or create a run")
    add_run_or_settings(train)
    train.add_argument(
        "--download", action="store_true",
        help="fetch the base model from the hub first, where it is a hub id and not here yet",
    )  # fmt: skip
    train.add_argument(
        "--take-over", action="store_true",
        help="with a run that a process on another computer seems to work on: that process ends "
        "when it notices, and what it has learned since its last checkpoint is lost",
    )  # fmt: skip
    train.add_argument(
        "--create-only", action="store_true", help="create the run without starting it"
    )
    train.add_argument(
        "--processes", type=int, default=0, metavar="N",
        help="compute each step in N processes (train.processes), also of a run that is resumed",
    )  # fmt: skip
    train.add_argument(
        "--devices", default="", metavar="0,1", help="the CUDA devices of a run, a process for each"
    )
    train.add_argument(
        "--on", default="", metavar="DEVICE",
        help="train on cuda:1, for example, and refuse where another process trains there; with a "
        "comma between several. The queue starts its runs so",
    )  # fmt: skip
    ask = add_command(commands, "ask", _run_ask, "ask a living run for something")
    ask.add_argument("run", help="a run's folder or id")
    ask.add_argument("what", choices=get_args(Request), help="what to do after the current step")
    ask.add_argument(
        "--within", type=float, default=0.0, metavar="SECONDS",
        help="with stop: wait so long for the run, then end its process without a checkpoint",
    )  # fmt: skip
    ask.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT",
        help="with sample: generate this prompt instead of the run's; may be given more than once",
    )  # fmt: skip
    status = add_command(commands, "status", _run_status, "list the runs and their state")
    status.add_argument("run", nargs="?", default="", help="only this run")
    export = add_command(commands, "export", _run_export, "write the file of a checkpoint")
    export.add_argument("run", help="a run's folder or id")
    export.add_argument("--step", type=int, default=0, help="the checkpoint's step; 0 is the last")


def _run_train(args: argparse.Namespace) -> int:
    config = read_settings(args)
    models = find_models(args)
    if args.on:
        use_devices(args.on.split(","), config)
    if args.devices:
        from trainer.commands import choose_devices

        args.processes = choose_devices(args.devices, config, args.processes)
    if args.processes:
        config = change_settings(config, {"train.processes": args.processes})
    if args.download:
        _fetch_base_model(config.base_model, models)
    if not args.run:  # before there is a folder of a run
        locate_base_model(config.base_model, models)
        check_settings(config)
    if args.create_only:  # the training reports it by itself
        from trainer.commands import check_before_start

        warnings = check_before_start(config, models)
    run = (
        find_run(args)
        if args.run
        else create_run(find_workspace(args, create=True) / "runs", config)
    )
    print(f"run: {run.path}")
    if args.create_only:
        print("".join(f"{line}\n" for line in warnings), end="")
        return 0
    with _own_devices(args, run):
        from trainer.commands import train

        try:
            cache = find_workspace_of(run) / "cache"
            reason = train(run, cache, args.processes, take_over=args.take_over)
        finally:
            _save_measured(run)
    print(f"{reason}: {run.path}")
    for path in run.list_exports()[:1]:
        print(f"file: {path}")
    return 0


@contextlib.contextmanager
def _own_devices(args: argparse.Namespace, run: RunFolder) -> Iterator[None]:
    """Holds the devices of a run, so that the queue waits for their end."""
    root = find_workspace_of(run)
    if args.on:  # before torch is imported, which takes seconds
        with own_devices(root, args.on.split(",")):
            yield
        return
    if run.path.parent.name != "runs" or not is_workspace(root):
        yield
        return
    from trainer.commands import name_devices

    numbers, train = args.devices.split(",") if args.devices else [], run.config.train
    devices = [f"cuda:{each.strip()}" for each in numbers]
    with own_free_devices(root, devices or name_devices(train.device, train.processes)) as messages:
        for message in messages:
            print(f"{message} This run starts all the same, and both are slower.")
        yield


def _save_measured(run: RunFolder) -> None:
    """Saves what was measured about the run's base model, for the app."""
    for event in read_events(run.events_path):
        if event["event"] == "measured":
            place, prediction = Path(event["base_model"]), str(event["prediction"])
            save_measured(find_workspace_of(run), place, prediction, str(event["message"]))


def _check_prompt(line: str) -> None:
    """Raises RunError where a sample prompt cannot be read."""
    try:
        parse_sample_prompt(line)
    except ValueError as error:
        raise RunError(f"This prompt cannot be read: {error}.") from error


def _run_ask(args: argparse.Namespace) -> int:
    run = find_run(args)
    status = read_status(run.path)
    if not status.live:
        raise RunError(f"{run.id} is {status.state}, so nobody would hear the request.")
    if args.within and args.what != "stop":
        raise RunError(f"--within is a time limit of stop, not of {args.what}. Leave it out.")
    if args.prompt and args.what != "sample":
        raise RunError(f"--prompt is about sample, not about {args.what}. Leave it out.")
    for line in args.prompt:
        _check_prompt(line)
    request(run.path, args.what, "\n".join(args.prompt))
    print(f"asked {run.id} to {args.what}")
    if args.within and not wait_for_end(run, args.within):
        end_run(run)
        print(f"ended {run.id}, which did not stop within {args.within:g} seconds")
    return 0


def _run_status(args: argparse.Namespace) -> int:
    runs = [find_run(args)] if args.run else list_runs(find_workspace(args) / "runs")
    if not runs:
        print(f"There are no runs in {args.workspace / 'runs'} yet.")
    for run in runs:
        status = read_status(run.path)
        loss = f"  loss {status.loss:.4f}" if status.loss is not None else ""
        left = f"  {status.seconds_left:.0f} s left" if status.seconds_left else ""
        print(f"{run.id}  {status.state}  {status.step}/{status.steps}{loss}{left}")
        if status.message:
            print(f"    {status.message}")
    return 0


def _run_export(args: argparse.Namespace) -> int:
    from trainer.commands import export_checkpoint

    run = find_run(args)
    path = export_checkpoint(run, find_workspace_of(run) / "cache", args.step)
    print(f"file: {path}")
    return 0


def _fetch_base_model(config: BaseModelConfig, models: Path) -> None:
    for text in (config.path, config.vae):
        if is_hub_id(text) and not Path(text).exists():
            from trainer.commands import download_model

            download_model(text, models, half=config.precision != "fp32")
