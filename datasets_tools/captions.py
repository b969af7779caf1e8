"""The text beside an image: reading, writing, trigger words, tags, and the trash with its undo."""

import contextlib
import hashlib
import random
import re
import unicodedata
from pathlib import Path

from datasets_tools.disk import read_bytes, remove_empty_folder, remove_file, rename
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error, save_for_person

CAPTION_SUFFIX = ".txt"
TRASH_FOLDER = ".trash"
LARGEST_CAPTION_BYTES = 65_536

_REVISION_LENGTH = 16
_ENTRY_DIGITS = 6


def caption_path(image_path: Path) -> Path:
    """Return where the caption of an image lies: same folder, same stem, ``.txt``."""
    return image_path.with_suffix(CAPTION_SUFFIX)


def read_caption(image_path: Path) -> str:
    """Return the caption of an image as one line, "" when it has none.

    Raises:
        DatasetError: The caption file is not UTF-8 text, far too long, or cannot be read.
    """
    return normalise_caption(read_caption_file(image_path) or "")


def read_caption_file(image_path: Path) -> str | None:
    """Return all that is in the caption file of an image; None when there is no such file.

    Raises:
        DatasetError: As for `read_caption`.
    """
    path = caption_path(image_path)
    name = show_name(path)
    try:
        data = read_bytes(path, LARGEST_CAPTION_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"The caption {name} cannot be read: {explain_os_error(error)}"
        raise DatasetError(message) from error
    if len(data) > LARGEST_CAPTION_BYTES:
        raise DatasetError(
            f"{name} is larger than {LARGEST_CAPTION_BYTES // 1024} KB, so it is not a caption. "
            "Write a sentence or a few tags into it, or move it out of the folder."
        )
    try:
        text = data.decode()  # with a byte order mark, which goes when the text is made one line
    except UnicodeDecodeError as error:
        raise _not_utf8(name) from error
    if "\0" in text:  # UTF-16 without its mark decodes, into letters with zeros in between
        raise _not_utf8(name)
    return text


def write_caption(image_path: Path, text: str) -> None:
    """Write the caption of an image as one line of UTF-8, in one piece or not at all.

    Raises:
        DatasetError: It could not be written or is far too long; the old caption is untouched.
    """
    name = show_name(image_path)
    data = normalise_caption(text).encode()
    if len(data) > LARGEST_CAPTION_BYTES:
        raise DatasetError(
            f"The caption of {name} is longer than {LARGEST_CAPTION_BYTES // 1024} KB and was not "
            "saved. Shorten it; a base model reads about 75 words."
        )
    save_for_person(caption_path(image_path), data, f"The caption of {name}")


def revision_of(caption: str) -> str:
    """Return the revision that an image has while this is its caption."""
    return hashlib.sha256(normalise_caption(caption).encode()).hexdigest()[:_REVISION_LENGTH]


def normalise_caption(text: str) -> str:
    """Return the text as one line, single-spaced, without control characters and order marks."""
    printable = "".join(
        char
        for char in text
        if char.isspace() or (unicodedata.category(char) not in ("Cc", "Cs") and char != "\ufeff")
    )
    return " ".join(printable.split())


def has_trigger(caption: str, trigger: str) -> bool:
    """Return whether the trigger is in the caption as whole words; case does not matter."""
    return count_trigger(caption, trigger) > 0


def count_trigger(caption: str, trigger: str) -> int:
    """Return how often the trigger is in the caption as whole words; 0 for no trigger."""
    pattern = _match_trigger(trigger)
    return len(pattern.findall(normalise_caption(caption))) if pattern else 0


def add_trigger(caption: str, trigger: str) -> str:
    """Return the caption with the trigger as its first words and nowhere else.

    A caption that already is like that, whether or not a comma follows, stays as it is.
    """
    caption = normalise_caption(caption)
    pattern = _match_trigger(trigger)
    if pattern is None:
        return caption
    first = pattern.match(caption)
    if first is None:
        rest = _remove_words(caption, pattern)
        head = normalise_caption(trigger)
        return f"{head}, {rest}" if rest else head
    rest = caption[first.end() :]
    if not pattern.search(rest):
        return caption
    joint = ", " if rest.lstrip().startswith(",") else " "
    rest = _remove_words(rest, pattern)
    return f"{first.group()}{joint}{rest}" if rest else first.group()


def replace_trigger(caption: str, trigger: str, word: str) -> str:
    """Return the caption with another word where the trigger stood; without it where it is ""."""
    caption, word = normalise_caption(caption), normalise_caption(word)
    pattern = _match_trigger(trigger)
    if pattern is None:
        return caption
    if not word:
        return _remove_words(caption, pattern)
    return pattern.sub(lambda _match: word, caption)


def shuffle_tags(caption: str, keep: int, rng: random.Random) -> str:
    """Return the comma-separated tags in random order, the first `keep` of them in place."""
    tags = [tag.strip() for tag in caption.split(",") if tag.strip()]
    fixed, loose = tags[: max(keep, 0)], tags[max(keep, 0) :]
    rng.shuffle(loose)
    return ", ".join(fixed + loose)


def move_to_trash(image_path: Path) -> Path:
    """Move an image and its caption into the folder's trash and return where the image is now.

    Every removal has a numbered folder of its own, so nothing in the trash is ever overwritten.

    Raises:
        DatasetError: The image is gone or cannot be moved; nothing has changed.
    """
    name = show_name(image_path)
    if not image_path.is_file():
        raise DatasetError(f"{name} is not in the dataset any more. Reload the dataset.")
    caption = caption_path(image_path)
    try:
        entry = _make_trash_entry(image_path.parent / TRASH_FOLDER)
        try:
            if caption.is_file():
                # A copy first: another image of the same stem may go on using this caption.
                text = caption.read_bytes()
                save_for_person(entry / caption.name, text, f"The caption of {name} in the trash")
            rename(image_path, entry / image_path.name)
        except (OSError, DatasetError):
            with contextlib.suppress(OSError):
                remove_file(entry / caption.name, missing_ok=True)
                remove_empty_folder(entry)
            raise
    except OSError as error:
        raise DatasetError(f"{name} could not be removed: {explain_os_error(error)}") from error
    if not _shares_stem(image_path):
        with contextlib.suppress(OSError):  # a caption without an image does no harm
            remove_file(caption, missing_ok=True)
    return entry / image_path.name


def restore_from_trash(folder: Path) -> Path | None:
    """Bring back the image that was removed last and return its path; None for an empty trash.

    If its name has been taken since, it comes back under a free one; nothing is overwritten.

    Raises:
        DatasetError: The image cannot be moved; it stays in the trash.
    """
    trash = folder / TRASH_FOLDER
    try:
        for entry in reversed(_list_trash(trash)):
            if (restored := restore_entry(entry)) is not None:
                return restored
    except OSError as error:
        message = f"The last removed image could not be restored: {explain_os_error(error)}"
        raise DatasetError(message) from error
    return None


def restore_entry(entry: Path) -> Path | None:
    """Bring back the image of one entry of the trash; None where there is no image in it.

    Raises:
        OSError: From the system; the image stays in the trash.
        DatasetError: The caption cannot be written; the image stays in the trash.
    """
    files = sorted(path for path in entry.iterdir() if path.is_file())
    images = [path for path in files if path.suffix != CAPTION_SUFFIX]
    return _restore_entry(entry, images[0], entry.parent.parent) if images else None


def _not_utf8(name: str) -> DatasetError:
    return DatasetError(
        f"The caption {name} is not UTF-8 text. Open it in a text editor and save it again with "
        "the encoding UTF-8, or write the caption anew."
    )


def _match_trigger(trigger: str) -> re.Pattern[str] | None:
    words = normalise_caption(trigger)
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE) if words else None


def _remove_words(text: str, pattern: re.Pattern[str]) -> str:
    """Return the text without any match, tidied up where matches were removed."""
    while pattern.search(text):  # removing one may join two halves of another
        tags = pattern.sub("", text).split(",")
        text = ", ".join(" ".join(tag.split()) for tag in tags if tag.strip())
        text = re.sub(r" +([.;:!?])", r"\1", text)
    return text.strip(" ,")


def _make_trash_entry(trash: Path) -> Path:
    """Make the next numbered folder in the trash."""
    trash.mkdir(exist_ok=True)
    while True:
        last = _list_trash(trash)[-1:]
        number = int(last[0].name) + 1 if last else 1
        entry = trash / f"{number:0{_ENTRY_DIGITS}d}"
        try:
            entry.mkdir()
        except FileExistsError:
            continue  # someone else took that number in this moment
        return entry


def _list_trash(trash: Path) -> list[Path]:
    """Return the entries of the trash, oldest first."""
    if not trash.is_dir():
        return []
    entries = [path for path in trash.iterdir() if re.fullmatch(r"[0-9]+", path.name)]
    return sorted(entries, key=lambda path: int(path.name))


def _shares_stem(image_path: Path) -> bool:
    """Return whether another file but the caption has the stem of a removed image."""
    own = (image_path.name, caption_path(image_path).name)
    return any(
        path.stem == image_path.stem and path.name not in own
        for path in image_path.parent.iterdir()
    )


def _restore_entry(entry: Path, image: Path, folder: Path) -> Path:
    """Move one trashed image and its caption back and remove the entry."""
    caption = caption_path(image)
    text = caption.read_bytes() if caption.is_file() else None
    target, number = folder / image.name, 2
    while target.exists() or not _caption_fits(caption_path(target), text):
        target = folder / f"{image.stem}-{number}{image.suffix}"
        number += 1
    if text is not None and not caption_path(target).exists():
        save_for_person(caption_path(target), text, f"The caption of {show_name(image)}")
    rename(image, target)
    with contextlib.suppress(OSError):
        remove_file(caption, missing_ok=True)
        remove_empty_folder(entry)
    return target


def _caption_fits(path: Path, text: bytes | None) -> bool:
    """Return whether the caption file is free or already has the restored text."""
    return not path.exists() or (text is not None and path.read_bytes() == text)
