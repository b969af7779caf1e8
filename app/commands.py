"""What each word of the command line does; the trainer is imported by the words that need it."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from datasets_tools.checks import check_dataset
from trainer.config import RunConfig, layer_config, list_presets
from trainer.runs import (
    PreviewFolder,
    RunError,
    RunFolder,
    create_run,
    list_runs,
    open_run,
    read_status,
    request,
)

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STARTER_MODEL = EXAMPLES / "starter-model"


def run_app(args: argparse.Namespace) -> int:
    """Opens the app in the browser."""
    from app.server import serve

    models = [STARTER_MODEL] if STARTER_MODEL.is_dir() else []
    serve(
        args.workspace,
        host=args.host,
        port=args.port,
        password=args.password or os.environ.get("LORASMITH_PASSWORD", ""),
        base_models=models,
        open_browser=args.open,
    )
    return 0


def run_train(args: argparse.Namespace) -> int:
    """Starts or resumes a run, or creates one from settings and starts it."""
    run = _find_run(args) if args.run else create_run(args.workspace / "runs", _make_config(args))
    print(f"run: {run.path}")
    if args.create_only:
        return 0
    from trainer.commands import train

    reason = train(run, cache=_find_workspace(run) / "cache")
    print(f"{reason}: {run.path}")
    for path in run.list_exports()[:1]:
        print(f"file: {path}")
    return 0


def run_ask(args: argparse.Namespace) -> int:
    """Asks a living run for something at the end of its current step."""
    run = _find_run(args)
    status = read_status(run.path)
    if not status.live:
        msg = f"{run.id} is {status.state}, so nobody would hear the request."
        raise RunError(msg)
    request(run.path, args.what)
    print(f"asked {run.id} to {args.what}")
    return 0


def run_status(args: argparse.Namespace) -> int:
    """Prints one line per run."""
    runs = [_find_run(args)] if args.run else list_runs(args.workspace / "runs")
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


def run_grid(args: argparse.Namespace) -> int:
    """Draws a grid of prompts and weights with a LoRA file."""
    from trainer.commands import Drawing, draw_grid

    drawing = Drawing(
        "", args.negative_prompt, args.seed, args.steps, args.guidance, args.width, args.height
    )
    draw_grid(args.base_model, args.lora, args.prompt, args.weight, drawing, args.to)
    print(f"grid: {args.to}")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Writes the LoRA file of a checkpoint."""
    from trainer.commands import export_checkpoint

    run = _find_run(args)
    path = export_checkpoint(run, _find_workspace(run) / "cache", args.step)
    print(f"file: {path}")
    return 0


def run_preview_worker(args: argparse.Namespace) -> int:
    """Keeps a base model loaded and answers the app's preview requests."""
    from trainer.commands import serve_previews

    serve_previews(PreviewFolder(args.folder), args.idle_seconds)
    return 0


def run_presets(_args: argparse.Namespace) -> int:
    """Prints the presets and what they are for."""
    for name, path in list_presets().items():
        print(f"{name}: {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
    return 0


def run_demo(args: argparse.Namespace) -> int:
    """Trains the example style on the starter model and draws a grid of the result."""
    settings = {
        "name": "openmoji-style",
        "base_model": {"path": str(STARTER_MODEL)},
        "dataset": {"path": str(EXAMPLES / "openmoji-style" / "images")},
        "samples": {"prompts": DEMO_PROMPTS[:3]},
    }
    if not STARTER_MODEL.is_dir():
        msg = "The starter model is not here. Run the demo from a clone of the repository."
        raise RunError(msg)
    config = layer_config("starter-style", settings=settings, assignments=args.set)
    run = create_run(args.workspace / "runs", config)
    print(f"Training {config.train.steps} steps on 16 images; follow it here or in the app.")
    command = [sys.executable, "-m", "app.cli"]
    # A process of its own, as the app starts it: its memory is free again for the grid.
    code = subprocess.run([*command, "train", str(run.path)], check=False).returncode
    exports = run.list_exports()
    if code != 0 or not exports:
        return code or 1
    grid = run.path / "grid.png"
    prompts = [f"--prompt={prompt}" for prompt in DEMO_PROMPTS]
    options = [f"--base-model={STARTER_MODEL}", f"--to={grid}", "--guidance=4", "--steps=25"]
    code = subprocess.run(
        [*command, "grid", str(exports[0]), *prompts, *options], check=False
    ).returncode
    print(
        f"\nThe LoRA file:    {exports[0]}\nWeights 0 to 1.5: {grid}\nThe whole run:    {run.path}"
        "\n\nThe starter model is a tour on tiny emoji pictures, not a model for real work."
        "\nNext: `make app` opens the app on this workspace; its Preview tab loads "
        f"{exports[0].name}."
        "\nFor real work put an SD 1.x or 2.x model (a diffusers folder) into "
        f"{args.workspace / 'models'} and choose it in the app."
    )
    return code


# Subjects that are not in the training set. No trigger: the style is to come with the weight alone.
DEMO_PROMPTS = ["a cat face", "a panda", "a frog", "a wolf", "an owl", "a butterfly"]


def _make_config(args: argparse.Namespace) -> RunConfig:
    sections: dict[str, dict[str, str]] = {"dataset": {}, "base_model": {}}
    if args.dataset:
        sections["dataset"]["path"] = str(args.dataset.resolve())
    if args.trigger:
        sections["dataset"]["trigger"] = args.trigger
    if args.base_model:
        sections["base_model"]["path"] = str(args.base_model.resolve())
    settings: dict[str, object] = {key: value for key, value in sections.items() if value}
    if args.name:
        settings["name"] = args.name
    return layer_config(args.preset, args.config, settings, args.set)


def _find_run(args: argparse.Namespace) -> RunFolder:
    """Takes a path, or a run's id in the workspace."""
    path = Path(args.run)
    known = args.workspace / "runs" / args.run
    return open_run(known if not path.exists() and known.exists() else path.resolve())


def _find_workspace(run: RunFolder) -> Path:
    return run.path.resolve().parent.parent
