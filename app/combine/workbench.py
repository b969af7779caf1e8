"""What is on the workbench of the Library: the draft, its images, and what came of saving it.

    workbench.json                what was last tried: the recipe, the draft, the images' prompt
    jobs/draft-0123456789abcdef/  the command that makes the draft, and draft.safetensors

There is one workbench per workspace, and every window shows the same draft.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.combine.recipes import MODEL_TASKS, Recipe, load_recipe
from app.core import text as core_text
from app.core.generation import WORKBENCH_REQUESTS, Generation, view_generation
from app.core.jobs import Job, read_job, stamp_jobs
from app.core.workspace import Workspace, WorkspaceError
from datasets_tools.disk import read_text
from datasets_tools.files import explain_os_error, write_atomically
from trainer.runs.starting import find_starter

DRAFT = "draft"
BUILD = "build"
DRAFT_FILE = "draft.safetensors"
_OWN_FILES = {"starting.json", "answer.txt", "log.txt", "stopped"}
_STEP_SECONDS = 5
_NO_JOB = Job()


@dataclass(frozen=True)
class ImageSettings:
    """How images are generated, as the browser sends it: prompt, seed, and the draft's weight."""

    prompt: str = ""
    seed: Any = 1
    weight: Any = 1.0


@dataclass(frozen=True)
class Workbench:
    """What was last tried.

    Attributes:
        recipe: What to make.
        images: How its images are generated.
        draft: The job that makes the draft; "" for base models, which have none.
        request: The request for its newest images; "" before there is one.
        problem: Why there are no images.
        saved: The name under which it was saved, or is being built.
        build: The job that writes a base model.
    """

    recipe: Recipe
    images: ImageSettings = ImageSettings()
    draft: str = ""
    request: str = ""
    problem: str = ""
    saved: str = ""
    build: str = ""

    @property
    def makes_model(self) -> bool:
        """Whether what is made is a base model."""
        return self.recipe.task in MODEL_TASKS


@dataclass(frozen=True)
class WorkbenchView:
    """The workbench at a glance.

    Attributes:
        tried: What was last tried; None where nothing was.
        job: The command that makes the draft, or that writes the base model.
        draft: The draft's or the saved file; None where there is none (yet).
        generation: Its newest images.
        old: The page shows another recipe.
    """

    tried: Workbench | None = None
    job: Job = _NO_JOB
    draft: Path | None = None
    generation: Generation | None = None
    old: bool = False

    @property
    def can_generate(self) -> bool:
        """Whether there is something to generate with."""
        return self.tried is not None and (self.tried.makes_model or self.draft is not None)

    @property
    def has_weight(self) -> bool:
        """Whether the weight of what was made can be changed."""
        return self.can_generate and not (self.tried and self.tried.makes_model)

    @property
    def is_working(self) -> bool:
        """Whether a draft is being made."""
        return self.job.state == "running" and not (self.tried and self.tried.makes_model)

    @property
    def can_save(self) -> bool:
        """Whether there is something new to save."""
        if self.tried is None or self.old:
            return False
        if self.tried.makes_model:
            return self.job.state in {"none", "failed"}
        return self.draft is not None and not self.tried.saved

    @property
    def is_saved(self) -> bool:
        """Whether what was tried is saved."""
        if self.tried is None or not self.tried.saved:
            return False
        return not self.tried.makes_model or self.job.state == "done"


def read_workbench(workspace: Workspace) -> Workbench | None:
    """Returns what was last tried; None where nothing was, or the file is damaged."""
    try:
        data = json.loads(read_text(workspace.workbench_path))
        texts = {key: str(data[key]) for key in ("draft", "request", "problem", "saved", "build")}
        images = data["images"]
        return Workbench(
            load_recipe(data["recipe"]),
            ImageSettings(str(images["prompt"]), images["seed"], images["weight"]),
            **texts,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_workbench(workspace: Workspace, tried: Workbench) -> None:
    """Saves what was tried; raises WorkspaceError where it cannot be written."""
    try:
        write_atomically(workspace.workbench_path, json.dumps(asdict(tried), indent=1))
    except OSError as error:
        raise WorkspaceError(core_text.cannot_write(explain_os_error(error))) from error


def view_workbench(workspace: Workspace, recipe: Recipe | None = None) -> WorkbenchView:
    """Returns what is on the workbench; `recipe` is what the page shows now."""
    tried = read_workbench(workspace)
    if tried is None:
        return WorkbenchView()
    job = read_job(workspace, tried.build if tried.makes_model else tried.draft)
    generation = None
    if tried.request:
        newest = view_generation(workspace.preview, WORKBENCH_REQUESTS)
        generation = newest if newest is not None and newest.id == tried.request else None
    old = recipe is not None and recipe != tried.recipe
    return WorkbenchView(tried, job, find_draft(workspace, tried), generation, old)


def find_draft(workspace: Workspace, tried: Workbench) -> Path | None:
    """Returns the file that was made: the draft, or what it was saved as."""
    if tried.makes_model:
        return None
    if tried.saved:
        place = workspace.loras_path / tried.saved
        return place if place.is_file() else None
    job = read_job(workspace, tried.draft)
    place = job.path / DRAFT_FILE
    return place if job.state == "done" and place.is_file() else None


def measure_work(folder: Path) -> tuple[int, int]:
    """Returns for how many seconds a job has been working, in fives, and the bytes written."""
    starter = find_starter(folder)
    seconds = max(0.0, time.time() - starter.started) if starter and starter.started else 0.0
    written = 0
    for path in list_work(folder):
        with contextlib.suppress(OSError):  # it was renamed in the meantime
            written += path.stat().st_size
    return int(seconds // _STEP_SECONDS) * _STEP_SECONDS, written


def list_work(folder: Path) -> list[Path]:
    """Returns the files that a command writes into its job's folder."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return [path for path in paths if path.name not in _OWN_FILES]


def stamp_workbench(workspace: Workspace) -> tuple[object, ...]:
    """Returns what changes with what the workbench shows, without reading any answer.

    The first two parts stay as they are while a command writes and images are generated.
    """
    try:
        content = read_text(workspace.workbench_path)
    except (OSError, UnicodeDecodeError):
        content = ""
    jobs = stamp_jobs(workspace, (DRAFT, BUILD))
    running = [name for name, state, _ in jobs if state == "running"]
    work = [measure_work(workspace.jobs_path / name) for name in running]
    return content, jobs, work, view_generation(workspace.preview, WORKBENCH_REQUESTS)


def read_answer(job: Job) -> Mapping[str, Any]:
    """Returns what a command reported; nothing before it is done."""
    return job.answer if job.state == "done" and isinstance(job.answer, dict) else {}
