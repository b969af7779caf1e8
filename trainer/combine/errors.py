"""What can go wrong when files are combined or changed."""


class CombineError(Exception):
    """Something a person can put right; the message says how."""
