"""The error of this package."""

from datasets_tools.errors import LorasmithError


class HubError(LorasmithError):
    """The hub could not be used; the message states why, and never contains a token."""
