"""The error of this room."""


class ExportError(Exception):
    """A LoRA file that cannot be written or read; the message says why and what to do."""
