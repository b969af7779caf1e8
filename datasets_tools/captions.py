"""The text beside an image: reading, writing, trigger words."""

import hashlib
import re
import unicodedata
from pathlib import Path

from datasets_tools.disk import read_bytes
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error, save_for_person
from datasets_tools.sidecars import CAPTION_SUFFIX, Neighbours, caption_path
from datasets_tools.text_files import decode_text
from datasets_tools.trash import TRASH_FOLDER, move_to_trash, restore_from_trash

__all__ = [
    "CAPTION_SUFFIX",
    "LARGEST_CAPTION_BYTES",
    "TRASH_FOLDER",
    "add_trigger",
    "caption_path",
    "count_trigger",
    "has_trigger",
    "move_to_trash",
    "normalise_caption",
    "read_caption",
    "read_caption_file",
    "read_caption_text",
    "replace_trigger",
    "restore_from_trash",
    "revision_of",
    "write_caption",
]

LARGEST_CAPTION_BYTES = 262_144  # 27,000 signs of any script fit

_REVISION_LENGTH = 16


def read_caption(image_path: Path, neighbours: Neighbours | None = None) -> str:
    """Return the caption of an image as one line, "" when it has none.

    Args:
        image_path: The image.
        neighbours: The files of its folder, where they have been listed already.

    Raises:
        DatasetError: The caption file is not Unicode text, far too long, or cannot be read.
    """
    text = read_caption_file(image_path, neighbours)
    if text is None:
        neighbours = neighbours or Neighbours(image_path.parent)
        text = neighbours.find_metadata(image_path.name)
    return normalise_caption(text or "")


def read_caption_file(image_path: Path, neighbours: Neighbours | None = None) -> str | None:
    """Return all that is in the caption file of an image; None when there is no such file.

    Raises:
        DatasetError: As for `read_caption`.
    """
    return read_caption_text(
        neighbours.caption_path(image_path) if neighbours else caption_path(image_path)
    )


def read_caption_text(path: Path) -> str | None:
    """Return all that is in a caption file; None when there is no such file.

    Raises:
        DatasetError: As for `read_caption`.
    """
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
        return decode_text(data)
    except UnicodeDecodeError as error:
        raise _not_utf8(name) from error


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
