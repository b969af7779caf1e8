"""What a person can mend: shown as one sentence, without a traceback."""


class RecipeError(Exception):
    """Says what happened, where, and what to do."""


class OutOfTimeError(Exception):
    """The time that was given is over; all that was learned is on the disk."""
