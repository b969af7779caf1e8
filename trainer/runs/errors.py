"""The error of this package."""

from datasets_tools.errors import LorasmithError


class RunError(LorasmithError):
    """A run that cannot be created, opened, started or saved; the message states what to do."""
