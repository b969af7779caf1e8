"""Captions of a whole dataset: having them suggested, changing them all, taking that back."""

import json
from pathlib import Path

from app.core.jobs import Job, forget_job, send_job, stop_job
from app.core.workspace import Workspace, WorkspaceError
from app.dataset import captions_text as words
from app.dataset.dataset_actions import CAPTION_LOCK
from app.dataset.suggestions import (
    QUESTION_FILE,
    find_suggesting,
    list_captioners,
    name_suggesting,
    view_captions,
)
from datasets_tools.edits import CaptionChange
from datasets_tools.errors import DatasetError
from datasets_tools.rewriting import rewrite_all, undo_rewriting


def start_suggesting(
    workspace: Workspace, dataset: object, captioner: object, existing: object
) -> Job:
    """Has captions suggested for a dataset; where that goes on already, nothing is started.

    Args:
        workspace: Where the dataset lies.
        dataset: Its name.
        captioner: One that `list_captioners` lists.
        existing: What happens to captions that are there: "keep", "append" or "replace".

    Raises:
        WorkspaceError: a choice is none, the captioner cannot be used, there is nothing to caption,
            or the command cannot be started.
    """
    folder = workspace.find_dataset(dataset)
    chosen = next((one for one in list_captioners(workspace) if one.name == captioner), None)
    if chosen is None:
        raise WorkspaceError(words.NOT_ON_OFFER)
    if existing not in words.EXISTING_CHOICES:
        raise WorkspaceError(words.NO_SUCH_PLACE)
    if chosen.problem:
        raise WorkspaceError(chosen.problem)
    found = view_captions(folder)
    if not found.images:
        raise WorkspaceError(words.NO_IMAGES)
    if existing == "keep" and not found.bare:
        raise WorkspaceError(words.ALL_CAPTIONED)
    arguments = [
        "caption", str(folder), f"--captioner={captioner}", f"--existing={existing}", "--download",
        "--json", f"--workspace={workspace.root}",
    ]  # fmt: skip

    def note_question(place: Path) -> None:
        question = json.dumps({"captioner": captioner, "existing": existing})
        (place / QUESTION_FILE).write_text(question, encoding="utf-8")

    job_id = name_suggesting(str(dataset))
    return send_job(workspace, job_id, arguments, note_question, again=True)


def stop_suggesting(workspace: Workspace, dataset: object) -> None:
    """Ends the captioner of a dataset; the captions that it has written stay."""
    stop_job(workspace, name_suggesting(str(dataset)))


def change_all(workspace: Workspace, dataset: object, change: CaptionChange) -> int:
    """Changes every caption of a dataset and returns how many became different.

    Raises:
        WorkspaceError: there is no such dataset, a captioner is at it, or a caption cannot be read
            or written.
    """
    folder = _find_at_rest(workspace, dataset)
    try:
        with CAPTION_LOCK:
            count = rewrite_all(folder, change)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    if count:
        _forget_suggesting(workspace, dataset)
    return count


def take_back(workspace: Workspace, dataset: object) -> str:
    """Takes back the last change of many captions and returns what that did, in a sentence.

    Raises:
        WorkspaceError: as for `change_all`, or there is no such change.
    """
    folder = _find_at_rest(workspace, dataset)
    try:
        with CAPTION_LOCK:
            done = undo_rewriting(folder)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    if done is None:
        raise WorkspaceError(words.NO_SUCH_CHANGE)
    _forget_suggesting(workspace, dataset)
    return words.taken_back(done.what, done.restored, done.kept)


def _find_at_rest(workspace: Workspace, dataset: object) -> Path:
    folder = workspace.find_dataset(dataset)
    if find_suggesting(workspace, dataset).state == "running":
        raise WorkspaceError(words.STILL_SUGGESTING)
    return folder


def _forget_suggesting(workspace: Workspace, dataset: object) -> None:
    """What a captioner did last is no longer what was done last, so the page stops saying it."""
    forget_job(workspace, name_suggesting(str(dataset)))
