"""Writes a workspace as this version leaves it, for the tests of later versions.

    PYTHONPATH=. python -m tests.workspaces.write

makes `format-N.zip` beside this file, where N is the number of this version's format. The next
version adds its own file when the number rises, and never changes an older one. The base model is
not in it, which `build_pico` makes again, nor is the cache; paths of the workspace are written as
`@WORKSPACE@`.
"""

import json
import re
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from app.combine.recipes import Recipe
from app.combine.workbench import Workbench, write_workbench
from app.core.base_models import save_answer, save_measurement
from app.core.jobs import read_job
from app.core.workspace import Workspace
from app.dataset.captions import write_trigger
from app.models.events import look_at_base_model
from datasets_tools.captions import move_to_trash
from datasets_tools.edits import change_words
from datasets_tools.rewriting import rewrite_all
from tests.trainer.conftest import asking, build_pico, write_images
from trainer.commands import train
from trainer.config import layer_config
from trainer.runs import create_run
from trainer.runs.workspace import FORMAT

HERE = Path(__file__).resolve().parent
PLACE = "@WORKSPACE@"
MODEL = "pico"
# What is made anew where it is missing, and what belongs to living processes.
_LEFT_OUT = re.compile(
    r"models/.+|cache/.*|served/.*|uploads/.*|.*\.lock|.*/process\.json|.*/starting\.json"
)
_TEXTS = {".toml", ".json", ".jsonl", ".txt"}
_DATE = (2026, 1, 1, 0, 0, 0)  # of all files in the archive, so that equal ones stay equal


def write_workspace(root):
    """Fills a folder with what a person leaves behind: datasets, runs, files, answers."""
    workspace = Workspace(root)
    workspace.prepare()
    build_pico(workspace.models_path / MODEL)
    dataset = workspace.datasets_path / workspace.create_dataset("blobs")
    write_images(dataset, [(32, 32)] * 5)
    write_trigger(dataset, "zorp")
    rewrite_all(dataset, change_words("round", "flat"))
    move_to_trash(dataset / "04.png")
    cache = root / "cache"
    finished = create_run(workspace.runs_path, _make_config(workspace, dataset, "whole"))
    train(finished, cache)
    (exported,) = finished.list_exports()
    shutil.copy(exported, workspace.loras_path / "brought.safetensors")
    stopped = create_run(workspace.runs_path, _make_config(workspace, dataset, "half"))
    with asking(stopped, {2: ["stop"]}):
        train(stopped, cache)
    create_run(workspace.runs_path, _make_config(workspace, dataset, "queued"))
    model = workspace.find_base_model(MODEL)
    save_answer(workspace, MODEL, "epsilon")
    save_measurement(workspace, model, "epsilon", "Measured: it predicts the noise.")
    look_at_base_model(workspace, MODEL)
    _wait_for_jobs(workspace)
    recipe = Recipe("merge", (("brought.safetensors", 1.0), ("brought.safetensors", 0.5)))
    write_workbench(workspace, Workbench(recipe, problem="not made yet"))


def _make_config(workspace, dataset, name):
    return layer_config(
        settings={
            "name": name,
            "base_model": {"path": str(workspace.models_path / MODEL), "precision": "fp32"},
            "dataset": {"path": str(dataset), "trigger": "zorp", "resolution": 32,
                        "bucket_step": 4},
            "adapter": {"rank": 1, "alpha": 1.0, "conv_rank": 0, "text_rank": 1},
            "train": {"steps": 4, "batch_size": 2, "device": "cpu", "log_every_steps": 1},
            "samples": {"every_steps": 2, "inference_steps": 2, "prompts": ["a blob"]},
            "output": {"checkpoint_every_steps": 2, "keep_checkpoints": 1, "thumbnail": False},
        }
    )  # fmt: skip


def _wait_for_jobs(workspace):
    folders = [path.name for path in workspace.jobs_path.iterdir() if path.is_dir()]
    while any(read_job(workspace, name).state == "running" for name in folders):
        time.sleep(0.1)


def pack(root, archive):
    """Writes a workspace as a zip; its own path becomes `@WORKSPACE@`."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_dir() or _LEFT_OUT.fullmatch(name):
                continue
            content = path.read_bytes()
            if path.suffix in _TEXTS:
                content = content.replace(str(root).encode(), PLACE.encode())
            file.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)


def unpack(archive, root):
    """Unpacks a workspace, and makes its base model again."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(root)
    place = json.dumps(str(root))[1:-1].encode()  # as it stands in JSON and TOML
    for path in root.rglob("*"):
        if path.is_file() and path.suffix in _TEXTS:
            path.write_bytes(path.read_bytes().replace(PLACE.encode(), place))
    build_pico(root / "models" / MODEL)
    return root


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder).resolve() / "workspace"
        write_workspace(made)
        to = HERE / f"format-{FORMAT}.zip"
        pack(made, to)
        print(f"{to.name}: {to.stat().st_size / 1e3:.0f} kB")
