"""Changing many captions at once, so that it can be taken back.

What a caption was before stands in a journal in the dataset's folder (see `journals`), on the disk,
before the caption is written. So an interruption leaves captions that are old or new, and each can
be had back.
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
from datasets_tools.edits import CaptionChange
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import scan_folder
from datasets_tools.files import explain_os_error, save_for_person
from datasets_tools.undo_log import (
    Entry,
    append_entry,
    begin_journal,
    list_journals,
    read_journal,
    remove_journal,
)


@dataclass(frozen=True)
class Undone:
    """What taking back a change did.

    Attributes:
        what: The change, in words.
        restored: So many captions were put back.
        kept: Names of images that were not touched, because they or their captions have been
            changed or removed since.
    """

    what: str
    restored: int
    kept: tuple[str, ...]


class Rewriting:
    """A change of many captions while it goes on, which `undo_rewriting` takes back as a whole.

    Args:
        folder: The dataset.
        what: The change in a few words, for whoever is asked whether to take it back.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.count = 0
        self._folder = folder
        self._what = what
        self._journal: Path | None = None

    def write(self, image_path: Path, text: str) -> bool:
        """Writes the caption of an image of the dataset; False if it says that already.

        Raises:
            DatasetError: it could not be written; the old caption is untouched.
        """
        before, after = read_caption_file(image_path), normalise_caption(text)
        if normalise_caption(before or "") == after:
            return False
        entry = Entry(image_path.name, before, after)
        try:
            # Whoever took back the first half meanwhile has removed its journal.
            if self._journal is None or not self._journal.exists():
                self._journal = begin_journal(self._folder, self._what, entry)
            else:
                append_entry(self._journal, entry)
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
            changed before that can be taken back.
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
    """Returns what the last change was that can be taken back; None if there is none.

    Raises:
        DatasetError: the journal cannot be read.
    """
    for journal in reversed(list_journals(folder)):
        what, entries = read_journal(journal)
        if entries:
            return what
    return None


def undo_rewriting(folder: Path) -> Undone | None:
    """Takes back the last change of many captions; None if there is none.

    A caption that somebody has edited since stays as it is.

    Raises:
        DatasetError: a caption or the journal cannot be read or written; doing it again goes on.
    """
    for journal in reversed(list_journals(folder)):
        what, entries = read_journal(journal)
        done = _take_back(folder, what, entries)
        try:
            remove_journal(journal)
        except OSError as error:
            msg = f"The journal {show_name(journal)} cannot be removed: {explain_os_error(error)}"
            raise DatasetError(msg) from error
        if entries:  # one without was interrupted before it had changed anything
            return done
    return None


def _take_back(folder: Path, what: str, entries: list[Entry]) -> Undone:
    by_caption: dict[Path, list[Entry]] = {}
    for entry in entries:
        by_caption.setdefault(caption_path(folder / entry.image), []).append(entry)
    restored, unchanged = 0, []
    for path, changes in by_caption.items():
        image = folder / changes[-1].image
        before = changes[0].before
        now = _read_bytes(path)
        if now == (None if before is None else before.encode()):
            continue  # it was never written, or an undo before this one was interrupted
        if now is None or not image.is_file() or not _is_ours(now, changes):
            unchanged.append(show_name(image))
            continue
        _put_back(image, before)
        restored += 1
    return Undone(what, restored, tuple(unchanged))


def _is_ours(now: bytes, changes: list[Entry]) -> bool:
    """Tells whether a caption says what the change had made of it, at any of its steps."""
    text = normalise_caption(now.decode("utf-8", "replace"))
    return any(text == change.after for change in changes)


def _read_bytes(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_CAPTION_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"The caption {show_name(path)} cannot be read: {explain_os_error(error)}"
        raise DatasetError(msg) from error


def _put_back(image: Path, before: str | None) -> None:
    path = caption_path(image)
    if before is not None:
        save_for_person(path, before, f"The caption of {show_name(image)}")
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"The caption of {show_name(image)} cannot be removed: {explain_os_error(error)}"
        raise DatasetError(msg) from error
