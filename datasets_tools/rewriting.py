"""Changing many captions at once, with undo.

The old text of a caption is saved in an undo log in the dataset's folder (see `undo_log`) before
the caption is written. So an interruption leaves captions that are old or new, and each can be
restored.
"""

from dataclasses import dataclass
from pathlib import Path

from datasets_tools.captions import (
    LARGEST_CAPTION_BYTES,
    caption_path,
    normalise_caption,
    read_caption,
    read_caption_file,
    write_caption,
)
from datasets_tools.disk import read_bytes, remove_file
from datasets_tools.edits import CaptionChange
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import scan_folder
from datasets_tools.files import explain_os_error, save_for_person
from datasets_tools.groups import locate
from datasets_tools.undo_log import (
    Entry,
    append_entry,
    create_log,
    list_logs,
    read_log,
    remove_log,
)


@dataclass(frozen=True)
class UndoResult:
    """The result of an undo.

    Attributes:
        what: Description of the change.
        restored: Number of captions restored.
        kept: Names of images that were not touched, because they or their captions have been
            changed or removed since.
    """

    what: str
    restored: int
    kept: tuple[str, ...]


class Rewriting:
    """A running change of many captions, which `undo_rewriting` undoes as a whole.

    Args:
        folder: The dataset.
        what: A short description of the change, shown for undo.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.count = 0
        self._folder = folder
        self._what = what
        self._log: Path | None = None

    def write(self, image_path: Path, text: str) -> bool:
        """Writes the caption of an image of the dataset; False if the text is the same already.

        Raises:
            DatasetError: it could not be written; the old caption is untouched.
        """
        after = normalise_caption(text)
        if read_caption(image_path) == after:
            return False
        before = read_caption_file(image_path)
        entry = Entry(image_path.relative_to(self._folder).as_posix(), before, after)
        try:
            # An undo of the first half meanwhile has removed the log.
            if self._log is None or not self._log.exists():
                self._log = create_log(self._folder, self._what, entry)
            else:
                append_entry(self._log, entry)
        except OSError as error:
            msg = f"The captions of {show_name(self._folder)} cannot be changed: "
            raise DatasetError(f"{msg}{explain_os_error(error)}") from error
        write_caption(image_path, after)
        self.count += 1
        return True


def rewrite_all(folder: Path, change: CaptionChange) -> int:
    """Changes every caption of a dataset by one rule, and returns how many became different.

    Raises:
        DatasetError: the folder cannot be read, or a caption cannot be read or written; what was
            changed before that can be undone.
    """
    examples, findings = scan_folder(folder)
    unreadable = [each.message for each in findings if each.code == "unreadable_caption"]
    if unreadable:
        raise DatasetError(f"No caption was changed. {unreadable[0]}")
    rewriting = Rewriting(folder, change.what)
    # Two images of one stem share a caption, which must not be edited twice.
    images = {example.caption_path: example.path for example in examples}
    for image in images.values():
        rewriting.write(image, change.edit(read_caption(image)))
    return rewriting.count


def find_last_rewriting(folder: Path) -> str | None:
    """Returns the description of the last change that can be undone; None if there is none.

    Raises:
        DatasetError: the undo log cannot be read.
    """
    for log in reversed(list_logs(folder)):
        what, entries = read_log(log)
        if entries:
            return what
    return None


def undo_rewriting(folder: Path) -> UndoResult | None:
    """Undoes the last change of many captions; None if there is none.

    A caption that was edited since stays as it is.

    Raises:
        DatasetError: a caption or the undo log cannot be read or written; calling it again
            continues.
    """
    for log in reversed(list_logs(folder)):
        what, entries = read_log(log)
        done = _restore_captions(folder, what, entries)
        try:
            remove_log(log)
        except OSError as error:
            msg = f"The undo log {show_name(log)} cannot be removed: {explain_os_error(error)}"
            raise DatasetError(msg) from error
        if entries:  # one without was interrupted before it had changed anything
            return done
    return None


def _restore_captions(folder: Path, what: str, entries: list[Entry]) -> UndoResult:
    by_caption: dict[Path, list[Entry]] = {}
    for entry in entries:
        by_caption.setdefault(caption_path(locate(folder, entry.image)), []).append(entry)
    restored, unchanged = 0, []
    for path, changes in by_caption.items():
        image = locate(folder, changes[-1].image)
        before = changes[0].before
        now = _read_bytes(path)
        if now == (None if before is None else before.encode()):
            continue  # it was never written, or an undo before this one was interrupted
        if now is None or not image.is_file() or not _is_unedited(now, changes):
            unchanged.append(show_name(image))
            continue
        _restore_caption(image, before)
        restored += 1
    return UndoResult(what, restored, tuple(unchanged))


def _is_unedited(now: bytes, changes: list[Entry]) -> bool:
    """Returns whether a caption has a text that the change gave it, at any of its steps."""
    text = normalise_caption(now.decode("utf-8", "replace"))
    return any(text == change.after for change in changes)


def _read_bytes(path: Path) -> bytes | None:
    try:
        return read_bytes(path, LARGEST_CAPTION_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"The caption {show_name(path)} cannot be read: {explain_os_error(error)}"
        raise DatasetError(msg) from error


def _restore_caption(image: Path, before: str | None) -> None:
    path = caption_path(image)
    if before is not None:
        save_for_person(path, before, f"The caption of {show_name(image)}")
        return
    try:
        remove_file(path, missing_ok=True)
    except OSError as error:
        msg = f"The caption of {show_name(image)} cannot be removed: {explain_os_error(error)}"
        raise DatasetError(msg) from error
