"""The error of this package."""

from datasets_tools.errors import LorasmithError


class OptimizerError(LorasmithError):
    """An optimiser that cannot be used; the message states what to install or to choose."""
