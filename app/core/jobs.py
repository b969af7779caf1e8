"""Jobs: short commands that the app sends out, whose answers are files.

    jobs/KIND-0123456789abcdef/
      starting.json     the process
      answer.txt        what it printed: JSON, or for a download a line of JSON per event
      log.txt           its errors
      ...               files that it makes

What needs torch, or takes longer than a blink, is left to the same command that a person would
type. The folder's name is made of the question, so the same question is answered once, for however
many tabs, and the answer outlives them.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from app.core import text
from app.core.workspace import Workspace, WorkspaceError
from datasets_tools.bounded_json import parse_json
from datasets_tools.disk import remove_folder, remove_quietly
from datasets_tools.files import explain_os_error
from trainer.runs import is_alive
from trainer.runs.starting import STARTER_FILE, find_starter, start_process

JOB_ID = re.compile(r"[a-z]+-[0-9a-f]{16}")
_MAX_JOBS = 60
_PROGRAM = "lorasmith: "
_STOPPED = "stopped"
_MAX_ANSWER_BYTES = 8 * 1024**2


@dataclass(frozen=True)
class Job:
    """How far a job is.

    Attributes:
        id: Its name; "" where there is none.
        state: "none" where it was never sent, or its answer was deleted since.
        answer: The JSON that it printed; None before it is done.
        events: Those of its lines that are JSON objects, also while it runs.
        message: Why it failed, in a sentence.
        was_stopped: It was stopped by the person.
        path: Its folder.
    """

    id: str = ""
    state: Literal["none", "running", "done", "failed"] = "none"
    answer: Any = None
    events: tuple[dict[str, Any], ...] = ()
    message: str = ""
    was_stopped: bool = False
    path: Path = Path()


def name_job(kind: str, *question: str) -> str:
    """Returns the id of the job that asks this question."""
    return f"{kind}-{hashlib.sha256(repr(question).encode()).hexdigest()[:16]}"


def send_job(
    workspace: Workspace,
    job_id: str,
    arguments: Sequence[str],
    prepare: Callable[[Path], None] | None = None,
    *,
    again: bool = False,
) -> Job:
    """Starts a job, unless it is under way or done; one that failed is sent again.

    Args:
        workspace: Where its folder lies.
        job_id: As `name_job` makes it.
        arguments: The command line behind `lorasmith`.
        prepare: Called with the new folder before the command starts, to write what it reads.
        again: Sends it again where it is done, too.

    Raises:
        WorkspaceError: the folder cannot be written or the process cannot be started.
    """
    folder = workspace.jobs_path / job_id
    try:
        workspace.jobs_path.mkdir(parents=True, exist_ok=True)
        with FileLock(str(workspace.jobs_path / ".send.lock"), timeout=10):
            known = read_job(workspace, job_id)
            if known.state == "running" or (known.state == "done" and not again):
                return known
            with contextlib.suppress(FileNotFoundError):
                remove_folder(folder)
            folder.mkdir()
            if prepare is not None:
                prepare(folder)
            command = [*workspace.trainer_command, *arguments]
            start_process(folder, command, folder / "log.txt", folder / "answer.txt")
            _forget_old(workspace)
    except Timeout:
        raise WorkspaceError(text.COMMAND_BUSY) from None
    except OSError as error:
        raise WorkspaceError(text.cannot_spawn(explain_os_error(error))) from error
    return read_job(workspace, job_id)


def read_job(workspace: Workspace, job_id: object) -> Job:
    """Returns how far a job is."""
    if not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
        return Job()
    folder = workspace.jobs_path / job_id
    # First: a process that ends between the two looks has printed all by the second.
    starter = find_starter(folder)
    running = is_alive(starter)
    output = _read_text(folder / "answer.txt")
    if output is None or starter is None:
        return Job(job_id, path=folder)
    events = tuple(_read_events(output))
    if running:
        return Job(job_id, "running", events=events, path=folder)
    stopped = (folder / _STOPPED).exists()
    if not stopped and _is_whole(output, events):
        with contextlib.suppress(ValueError):
            return Job(job_id, "done", parse_json(output), events, path=folder)
        return Job(job_id, "done", events[-1], events, path=folder)
    complaint = _read_complaint(_read_text(folder / "log.txt") or "")
    message = text.COMMAND_STOPPED if stopped else complaint
    return Job(job_id, "failed", None, events, message, stopped, folder)


def _is_whole(output: str, events: Sequence[dict[str, Any]]) -> bool:
    """Whether a command came to its end: with a document, or with the event "done"."""
    if events and "event" in events[-1]:
        return bool(events[-1]["event"] == "done")
    try:
        parse_json(output)
    except ValueError:
        return False
    return True


def stop_job(workspace: Workspace, job_id: object) -> None:
    """Ends the process of a job that is under way."""
    job = read_job(workspace, job_id)
    starter = find_starter(job.path)
    if job.state == "running" and starter is not None:
        with contextlib.suppress(psutil.Error, OSError):
            (job.path / _STOPPED).touch()
            psutil.Process(starter.pid).terminate()


def forget_job(workspace: Workspace, job_id: object) -> None:
    """Deletes the answer of a job, unless it is under way."""
    job = read_job(workspace, job_id)
    if job.state in {"done", "failed"}:
        remove_quietly(job.path)


def list_jobs(workspace: Workspace, kind: str) -> list[Job]:
    """Returns the jobs of a kind, the newest first."""
    folders = [path for path in workspace.jobs_path.glob(f"{kind}-*") if path.is_dir()]
    folders.sort(key=_read_time, reverse=True)
    return [read_job(workspace, path.name) for path in folders]


def stamp_job(workspace: Workspace, job_id: str) -> tuple[str, str, int]:
    """Returns what changes when a job prints something or ends."""
    folder = workspace.jobs_path / job_id
    try:
        size = (folder / "answer.txt").stat().st_size
    except OSError:
        return (job_id, "none", 0)
    alive = "running" if is_alive(find_starter(folder)) else "ended"
    return (job_id, alive, size)


def stamp_jobs(workspace: Workspace, kinds: Iterable[str]) -> list[tuple[str, str, int]]:
    """Returns what changes when a job of these kinds prints something or ends."""
    names = {path.name for kind in kinds for path in workspace.jobs_path.glob(f"{kind}-*")}
    return sorted(stamp_job(workspace, name) for name in names)


def _read_text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace")
    except OSError:
        return None


def _read_events(output: str) -> list[dict[str, Any]]:
    events = []
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            event = parse_json(line)
            if isinstance(event, dict):
                events.append(event)
    return events


def _read_complaint(log: str) -> str:
    """Returns the sentence that the command ended with; the last line where it had none."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(_PROGRAM):
            return line.removeprefix(_PROGRAM)
    return text.command_died(lines[-1]) if lines else text.COMMAND_DIED


def _read_time(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / STARTER_FILE).stat().st_mtime
    return 0.0


def _forget_old(workspace: Workspace) -> None:
    folders = [path for path in workspace.jobs_path.iterdir() if path.is_dir()]
    for folder in sorted(folders, key=_read_time, reverse=True)[_MAX_JOBS:]:
        if not is_alive(find_starter(folder)):
            remove_quietly(folder)
