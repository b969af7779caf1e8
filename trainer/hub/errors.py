"""The error of this room."""


class HubError(Exception):
    """The hub could not be used; the message says why and what to do. It never holds a token."""
