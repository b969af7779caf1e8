"""Expected errors: shown as one sentence, without a traceback."""


class RecipeError(Exception):
    """The message states what happened, where, and what to do."""


class OutOfTimeError(Exception):
    """The time that was given is over; all that was learned is on the disk."""
