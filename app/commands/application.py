"""The app, the worker behind its previews, and the demo."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from app.commands.arguments import Subparsers, add_command, add_set, find_workspace
from trainer.config import layer_config
from trainer.runs import PreviewFolder, RunError, create_run
from trainer.runs.workspace import check_workspace

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STARTER_MODEL = EXAMPLES / "starter-model"
# Subjects that are not in the training set. No trigger: the style is to come with the weight alone.
DEMO_PROMPTS = ["a cat face", "a panda", "a frog", "a wolf", "an owl", "a butterfly"]


def add_commands(commands: Subparsers) -> None:
    """Adds `app`, `demo` and `preview-worker`."""
    app = add_command(commands, "app", _run_app, "open the app in the browser")
    app.add_argument("--host", default="127.0.0.1", help="address to listen on")
    app.add_argument("--port", type=int, default=7860, help="port to listen on")
    app.add_argument(
        "--password", default="",
        help="asked for by the app; needed for any --host but this computer; "
        "LORASMITH_PASSWORD in the environment does the same",
    )  # fmt: skip
    app.add_argument("--open", action="store_true", help="open a browser window, too")
    demo = add_command(commands, "demo", _run_demo, "train the example style on the starter model")
    add_set(demo)
    worker = add_command(
        commands, "preview-worker", _run_preview_worker, "answer the app's preview requests"
    )
    worker.add_argument("folder", type=Path, help="where requests and results lie")
    worker.add_argument(
        "--idle-seconds", type=float, default=900.0, help="end after so long without a request"
    )


def _run_app(args: argparse.Namespace) -> int:
    from app.core.workspace import Workspace
    from app.web.server import launch

    models = (STARTER_MODEL.resolve(),) if STARTER_MODEL.is_dir() else ()
    launch(
        Workspace(args.workspace.resolve(), models),
        host=args.host,
        port=args.port,
        password=args.password or os.environ.get("LORASMITH_PASSWORD", ""),
        open_browser=args.open,
    )
    return 0


def _run_preview_worker(args: argparse.Namespace) -> int:
    from trainer.commands import serve_previews

    check_workspace(args.folder.resolve().parent)
    serve_previews(PreviewFolder(args.folder), args.idle_seconds)
    return 0


def _run_demo(args: argparse.Namespace) -> int:
    settings = {
        "name": "openmoji-style",
        "base_model": {"path": str(STARTER_MODEL)},
        "dataset": {"path": str(EXAMPLES / "openmoji-style" / "images")},
        "samples": {"prompts": DEMO_PROMPTS[:3]},
    }
    if not STARTER_MODEL.is_dir():
        raise RunError(
            "The starter model is not here. Run the demo from a clone of the repository."
        )
    config = layer_config("starter-style", settings=settings, assignments=args.set)
    run = create_run(find_workspace(args, create=True) / "runs", config)
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
        "\n\nThe starter model is a tour on tiny emoji images, not a model for real work."
        "\nNext: `make app` opens the app on this workspace; its Preview tab loads "
        f"{exports[0].name}."
        "\nFor real work put an SD 1.x, SD 2.x or SDXL model into "
        f"{args.workspace / 'models'} (or `lorasmith download` one) and choose it in the app."
    )
    return code
