"""The error of this room."""


class OptimizerError(Exception):
    """An optimiser that cannot be used; the message says what to install or to choose."""
