"""What the Train tab says about memory."""

from collections.abc import Mapping

from app.core.text import show_bytes

ASK = "Will it fit?"
LOOKING = "Working out the memory for these settings. This takes some seconds…"
HEADING = "Memory that these settings take"
PHASE = "Phase"
NEEDS = "Needs"
CHANGES = "What would make it fit"
CHANGES_INFO = "Each line builds on those above it."
APPLY = "Use this"
APPLY_ALL = "Use all up to here"
ALLOWANCE = "Driver, libraries and gaps"
TOTAL = "What must be free"
NOTHING_HELPS = (
    "No setting that is known here makes it fit. Choose a smaller base model or another device."
)
UNKNOWN_FREE = "How much memory is free on the device is not known."


def fits(peak: int, free: int, device: str) -> str:
    """There is room."""
    return f"It fits: {show_bytes(peak)} at most, {show_bytes(free)} free on {device}."


def too_large(peak: int, free: int, device: str) -> str:
    """There is no room."""
    return f"It does not fit: {show_bytes(peak)} at most, {show_bytes(free)} free on {device}."


def needs(peak: int) -> str:
    """What is free is not known."""
    return f"It needs {show_bytes(peak)} at most. {UNKNOWN_FREE}"


def failed(message: str) -> str:
    """No estimate could be made."""
    return f"The memory could not be worked out: {message}"


def change_line(settings: Mapping[str, object], needed: int, free: int) -> str:
    """A change of settings and what it brings the need down to."""
    fits = ", which fits" if needed <= free else ""
    return f"{show_settings(settings)}: {show_bytes(needed)}{fits}."


def applied(settings: Mapping[str, object]) -> str:
    """Changes were taken over."""
    return f"Set: {show_settings(settings)}."


def made_for(settings: Mapping[str, object]) -> str:
    """What an estimate was made for, so that an older one is not taken for the newest settings."""
    return f"Worked out for {show_settings(settings)}."


def show_settings(settings: Mapping[str, object]) -> str:
    """Settings as one would type them."""
    return ", ".join(f"{path} = {_show(value)}" for path, value in settings.items())


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
