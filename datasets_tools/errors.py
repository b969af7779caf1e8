"""The base of every error of ours, and how a file is called in a sentence."""

from pathlib import Path

LONGEST_SHOWN_NAME = 80


class LorasmithError(Exception):
    """Something that a person can put right; the message is a finished sentence for them.

    The base of every error class in `app`, `trainer` and `datasets_tools`: the command line and the
    app's handlers show its message where any other exception is a fault of the program.
    """


class DatasetError(LorasmithError):
    """Something is wrong with a dataset; the message is a finished sentence for its owner.

    It states what happened, where, and what to do about it.
    """


def show_name(path: Path) -> str:
    """Return the file name fit for a sentence: printable, valid Unicode, not endless.

    File names are untrusted: they may contain line breaks, terminal codes or bytes that are
    not text. The result is for reading only; it is not escaped for HTML.
    """
    name = path.name or str(path)
    text = "".join(char if char.isprintable() else "?" for char in name)
    if len(text) > LONGEST_SHOWN_NAME:
        text = text[: LONGEST_SHOWN_NAME - 1] + "…"
    return text
