"""The error of this package."""

from datasets_tools.errors import LorasmithError


class ModelError(LorasmithError):
    """A base model that cannot be used; the message states what is missing and what to do."""
