"""The error of this package."""

from datasets_tools.errors import LorasmithError


class ExportError(LorasmithError):
    """A LoRA file that cannot be written or read; the message states why and what to do."""
