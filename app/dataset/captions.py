"""Captions and trigger words as texts with a revision, and changes of all captions at once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.core import text as folders_text
from app.core.examples import (
    TRIGGER_FILE,
    find_example,
    find_suggesting,
    image_url,
    name_suggesting,
    read_trigger,
    show_example,
)
from app.core.jobs import forget_job
from app.core.workspace import Workspace, WorkspaceError
from app.dataset import text
from app.dataset.images import CAPTION_LOCK
from app.dataset.suggestions import list_suggested
from datasets_tools.captions import normalise_caption, read_caption, revision_of, write_caption
from datasets_tools.edits import CaptionChange
from datasets_tools.errors import DatasetError
from datasets_tools.files import explain_os_error, write_atomically
from datasets_tools.rewriting import rewrite_all, undo_rewriting

_MAX_TRIGGER = 200


@dataclass(frozen=True)
class EditedText:
    """A caption or a trigger word as the editor reads it.

    Attributes:
        text: The text.
        revision: Another one whenever the text is; whoever saves names the one that was read.
        name: Of the image or the dataset.
        image: The image's address.
        facts: The line under the image.
    """

    text: str
    revision: str
    name: str
    image: str = ""
    facts: str = ""


@dataclass(frozen=True)
class Saved:
    """The result of saving a text.

    Attributes:
        outcome: "conflict" where somebody else changed it, "gone" where it has no image any more,
            "refused" where it cannot be written.
        message: A sentence for the person; "" where there is none.
        text: What is saved now: the text, or after a conflict that of somebody else.
        revision: Of `text`.
    """

    outcome: Literal["saved", "unchanged", "conflict", "gone", "refused"]
    message: str = ""
    text: str = ""
    revision: str = ""


def open_caption(workspace: Workspace, dataset: str, key: str) -> EditedText:
    """Returns the caption of an image for editing.

    Raises:
        WorkspaceError: there is no such dataset or image.
    """
    example = find_example(workspace.find_dataset(dataset), key)
    if example is None:
        raise WorkspaceError(text.IMAGE_GONE)
    try:
        caption = read_caption(example.path)
    except DatasetError:  # the check names what is wrong with the file
        caption = ""
    name = show_example(example)
    facts = text.image_facts(name, example.width, example.height)
    return EditedText(caption, revision_of(caption), name, image_url(dataset, key), facts)


def save_caption(
    workspace: Workspace, dataset: str, key: str, revision: str, caption: str
) -> Saved:
    """Saves a caption if nobody has changed it since `revision`.

    What a captioner has written meanwhile is replaced by the text that a person typed.
    """
    try:
        example = find_example(workspace.find_dataset(dataset), key)
    except WorkspaceError as error:
        return Saved("gone", str(error))
    if example is None:
        return Saved("gone", text.IMAGE_GONE)
    name, plain = show_example(example), normalise_caption(caption)
    try:
        with CAPTION_LOCK:
            if not example.path.is_file():  # it was removed in this moment
                return Saved("gone", text.IMAGE_GONE)
            now = read_caption(example.path)
            if now == plain:
                # The page did not hear the answer to an earlier try, or has what is there anyway.
                return Saved("unchanged", f"{text.SAVED} {name}", now, revision_of(now))
            suggested = list_suggested(find_suggesting(workspace, dataset))
            if revision_of(now) != revision and now not in suggested:
                return Saved("conflict", text.caption_conflict(name), now, revision_of(now))
            write_caption(example.path, plain)
    except DatasetError as error:
        return Saved("refused", str(error))
    return Saved("saved", f"{text.SAVED} {name}", plain, revision_of(plain))


def open_trigger(workspace: Workspace, dataset: str) -> EditedText:
    """Returns the trigger word of a dataset for editing.

    Raises:
        WorkspaceError: there is no such dataset.
    """
    trigger = read_trigger(workspace.find_dataset(dataset))
    return EditedText(trigger, revision_of(trigger), dataset)


def save_trigger(workspace: Workspace, dataset: str, revision: str, trigger: str) -> Saved:
    """Saves the trigger word of a dataset if nobody has changed it since `revision`."""
    plain = normalise_caption(trigger)
    try:
        folder = workspace.find_dataset(dataset)
    except WorkspaceError as error:
        return Saved("gone", str(error))
    with CAPTION_LOCK:
        now = read_trigger(folder)
        if now == plain:
            return Saved("unchanged", text.TRIGGER_SAVED, now, revision_of(now))
        if revision_of(now) != revision:
            return Saved("conflict", text.TRIGGER_CONFLICT, now, revision_of(now))
        try:
            write_trigger(folder, plain)
        except WorkspaceError as error:
            return Saved("refused", str(error))
    return Saved("saved", text.TRIGGER_SAVED, plain, revision_of(plain))


def write_trigger(folder: Path, trigger: str) -> None:
    """Writes the trigger word of a dataset.

    Raises:
        WorkspaceError: it is too long or cannot be written.
    """
    if len(trigger) > _MAX_TRIGGER:
        raise WorkspaceError(text.trigger_too_long(_MAX_TRIGGER))
    try:
        content = json.dumps({"trigger": trigger}, ensure_ascii=False)
        write_atomically(folder / TRIGGER_FILE, content)
    except OSError as error:
        raise WorkspaceError(folders_text.cannot_write(explain_os_error(error))) from error


def change_all(workspace: Workspace, dataset: object, change: CaptionChange) -> int:
    """Changes every caption of a dataset and returns how many became different.

    Raises:
        WorkspaceError: there is no such dataset, a captioner works on it, or a caption cannot be
            read or written.
    """
    folder = _find_idle(workspace, dataset)
    try:
        with CAPTION_LOCK:
            count = rewrite_all(folder, change)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    if count:
        _forget_suggesting(workspace, dataset)
    return count


def undo_last_change(workspace: Workspace, dataset: object) -> str:
    """Undoes the last change of many captions and returns what that did, in a sentence.

    Raises:
        WorkspaceError: as for `change_all`, or there is no such change.
    """
    folder = _find_idle(workspace, dataset)
    try:
        with CAPTION_LOCK:
            done = undo_rewriting(folder)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    if done is None:
        raise WorkspaceError(text.NO_SUCH_CHANGE)
    _forget_suggesting(workspace, dataset)
    return text.undone(done.what, done.restored, done.kept)


def _find_idle(workspace: Workspace, dataset: object) -> Path:
    folder = workspace.find_dataset(dataset)
    if find_suggesting(workspace, dataset).state == "running":
        raise WorkspaceError(folders_text.STILL_SUGGESTING)
    return folder


def _forget_suggesting(workspace: Workspace, dataset: object) -> None:
    """What a captioner did last is no longer what was done last, so the page stops showing it."""
    forget_job(workspace, name_suggesting(str(dataset)))
