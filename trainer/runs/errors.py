"""The error of this room."""

from datasets_tools.errors import LorasmithError


class RunError(LorasmithError):
    """A run that cannot be created, opened, started or saved; the message says what to do."""
