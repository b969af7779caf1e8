"""The error of this room."""

from datasets_tools.errors import LorasmithError


class ModelError(LorasmithError):
    """A base model that cannot be used; the message says what is missing and what to do."""
