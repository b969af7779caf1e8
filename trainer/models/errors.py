"""The error of this room."""


class ModelError(Exception):
    """A base model that cannot be used; the message says what is missing and what to do."""
