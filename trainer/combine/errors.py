"""Errors of combining files."""

from datasets_tools.errors import LorasmithError


class CombineError(LorasmithError):
    """Something a person can put right; the message says how."""
