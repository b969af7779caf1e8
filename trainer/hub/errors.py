"""The error of this room."""

from datasets_tools.errors import LorasmithError


class HubError(LorasmithError):
    """The hub could not be used; the message says why and what to do. It never holds a token."""
