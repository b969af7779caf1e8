"""The error of this room."""

from datasets_tools.errors import LorasmithError


class ExportError(LorasmithError):
    """A LoRA file that cannot be written or read; the message says why and what to do."""
