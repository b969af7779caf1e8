"""Errors of combining files."""

from datasets_tools.errors import LorasmithError


class CombineError(LorasmithError):
    """A problem with the files or options; the message states what to do."""
