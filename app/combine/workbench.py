"""What is on the workbench of the Library: the draft, its picture, and what came of saving it.

    workbench.json                  what was last tried: the recipe, the draft, the pictures' prompt
    jobs/draft-0123456789abcdef/ the command that makes the draft, and draft.safetensors

There is one workbench per workspace, and every tab shows the same draft.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.combine.recipes import MODEL_TASKS, Recipe, load_recipe
from app.core.generation import WORKBENCH_REQUESTS, Generation, view_generation
from app.core.jobs import Job, read_job, stamp_jobs
from app.core.processes import find_starter
from app.core.workspace import Workspace

DRAFT = "draft"
BUILD = "build"
DRAFT_FILE = "draft.safetensors"
_OWN_FILES = {"starting.json", "answer.txt", "log.txt", "stopped"}
_STEP_SECONDS = 5
_NO_JOB = Job()


@dataclass(frozen=True)
class Look:
    """How pictures are drawn, as the browser sends it: prompt, seed, and the draft's weight."""

    prompt: str = ""
    seed: Any = 1
    weight: Any = 1.0


@dataclass(frozen=True)
class Bench:
    """What was last tried.

    Attributes:
        recipe: What was asked for.
        look: How its pictures are drawn.
        draft: The job that makes the draft; "" for base models, which have none.
        asked: The request for its newest pictures; "" before there is one.
        problem: Why there are no pictures.
        saved: The name under which it was saved, or is being built.
        build: The job that writes a base model.
    """

    recipe: Recipe
    look: Look = Look()
    draft: str = ""
    asked: str = ""
    problem: str = ""
    saved: str = ""
    build: str = ""

    @property
    def makes_model(self) -> bool:
        """Whether what is made is a base model."""
        return self.recipe.task in MODEL_TASKS

    def to_json(self) -> str:
        """Returns everything as text."""
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True)
class BenchView:
    """The workbench at a glance.

    Attributes:
        bench: What was last tried; None where nothing was.
        job: The command that makes the draft, or that writes the base model.
        draft: The draft's or the saved file; None where there is none (yet).
        drawing: Its newest pictures.
        old: The page shows another recipe.
    """

    bench: Bench | None = None
    job: Job = _NO_JOB
    draft: Path | None = None
    drawing: Generation | None = None
    old: bool = False

    @property
    def can_draw(self) -> bool:
        """Whether there is something to draw with."""
        return self.bench is not None and (self.bench.makes_model or self.draft is not None)

    @property
    def can_save(self) -> bool:
        """Whether there is something new to save."""
        if self.bench is None or self.old:
            return False
        if self.bench.makes_model:
            return self.job.state in {"none", "failed"}
        return self.draft is not None and not self.bench.saved

    @property
    def is_saved(self) -> bool:
        """Whether what was tried is saved."""
        if self.bench is None or not self.bench.saved:
            return False
        return not self.bench.makes_model or self.job.state == "done"


def read_bench(workspace: Workspace) -> Bench | None:
    """Returns what was last tried; None where nothing was, or the file is damaged."""
    try:
        data = json.loads(workspace.workbench_path.read_text(encoding="utf-8"))
        texts = {key: str(data[key]) for key in ("draft", "asked", "problem", "saved", "build")}
        look = data["look"]
        return Bench(
            load_recipe(data["recipe"]),
            Look(str(look["prompt"]), look["seed"], look["weight"]),
            **texts,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def view_bench(workspace: Workspace, recipe: Recipe | None = None) -> BenchView:
    """Returns what is on the workbench; `recipe` is what the page shows now."""
    bench = read_bench(workspace)
    if bench is None:
        return BenchView()
    job = read_job(workspace, bench.build if bench.makes_model else bench.draft)
    drawing = view_generation(workspace.preview, WORKBENCH_REQUESTS) if bench.asked else None
    if drawing is not None and drawing.id != bench.asked:
        drawing = None
    old = recipe is not None and recipe != bench.recipe
    return BenchView(bench, job, find_draft(workspace, bench), drawing, old)


def find_draft(workspace: Workspace, bench: Bench) -> Path | None:
    """Returns the file that was made: the draft, or what it was saved as."""
    if bench.makes_model:
        return None
    if bench.saved:
        place = workspace.loras_path / bench.saved
        return place if place.is_file() else None
    job = read_job(workspace, bench.draft)
    place = job.path / DRAFT_FILE
    return place if job.state == "done" and place.is_file() else None


def measure_work(folder: Path) -> tuple[int, int]:
    """Returns for how many seconds a command has been working, in fives, and the bytes written.

    Args:
        folder: The job's.
    """
    starter = find_starter(folder)
    seconds = max(0.0, time.time() - starter.started) if starter and starter.started else 0.0
    written = 0
    for path in list_work(folder):
        with contextlib.suppress(OSError):  # it was renamed in the meantime
            written += path.stat().st_size
    return int(seconds // _STEP_SECONDS) * _STEP_SECONDS, written


def list_work(folder: Path) -> list[Path]:
    """Returns the files that a command writes into its job's folder."""
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if path.name not in _OWN_FILES]


def stamp_bench(workspace: Workspace) -> str:
    """Returns a text that changes with what the workbench shows, without reading any answer."""
    try:
        kept = workspace.workbench_path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        kept = ""
    jobs = stamp_jobs(workspace, (DRAFT, BUILD))
    running = [name for name, state, _ in jobs if state == "running"]
    work = [measure_work(workspace.jobs_path / name) for name in running]
    drawing = view_generation(workspace.preview, WORKBENCH_REQUESTS)
    return repr((kept, jobs, work, drawing))


def read_answer(job: Job) -> Mapping[str, Any]:
    """Returns what a command told; nothing before it is done."""
    told = job.answer
    return told if job.state == "done" and isinstance(told, dict) else {}
