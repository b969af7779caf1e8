"""The error of this room."""


class RunError(Exception):
    """A run that cannot be created, opened, started or saved; the message says what to do."""
