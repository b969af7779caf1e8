"""The error of this room."""

from datasets_tools.errors import LorasmithError


class OptimizerError(LorasmithError):
    """An optimiser that cannot be used; the message says what to install or to choose."""
