"""What is said about the header of a LoRA file: what it tells others."""

from app.core.text import show_bytes

TITLE = "What the file will tell about itself"
INFO = (
    "A LoRA file carries a header that other programs and sites read. Paths, user names and folder "
    "names are never written; the choice is between the settings too, or only what programs need."
)
ASK = "Show it"
LOOKING = "Putting the header together. This takes some seconds…"
NAME = "Entry"
VALUE = "Value"
NO_HEADER = "This file tells nothing about itself."
HEADING = "What stands in the header"
WILL_HEADING = "What would be written with these settings"


def failed(message: str) -> str:
    """The header cannot be shown."""
    return f"The header could not be put together: {message}"


def picture(size: int) -> str:
    """A picture inside a header."""
    return f"a picture ({show_bytes(size)})"


def and_more(size: int) -> str:
    """A long value that is cut."""
    return f"… ({show_bytes(size)} in all)"


def folded(heading: str, count: int) -> str:
    """The line above a header that is not unfolded."""
    return f"{heading} ({count} entries)"
