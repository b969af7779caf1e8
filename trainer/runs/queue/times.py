"""The time of day at which a run of the queue may start, as people write it."""

import re
from datetime import datetime, timedelta

from trainer.runs.queue.order import QueueError

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_LATER = re.compile(r"\+(\d{1,4})\s*(m|min|h|d)")
_MINUTES = {"m": 1, "min": 1, "h": 60, "d": 1440}
_NONE = {"", "now"}


def read_time(text: str, now: datetime | None = None) -> float:
    """Returns a time in seconds since 1970; 0 for now.

    Args:
        text: "22:30" (the next one), "2026-12-24 22:30", "+2h", "+30min", or "now".
        now: The present time; None asks the clock.

    Raises:
        QueueError: it is none of these, or in the past.
    """
    moment, plain = now or datetime.now().astimezone(), text.strip().lower()
    if plain in _NONE:
        return 0.0
    time = _read_moment(plain, moment)
    if time is None:
        raise QueueError(
            f"{text!r} is no time. Write 22:30, “2026-12-24 22:30”, +2h, +30min, or now."
        )
    if time <= moment:
        raise QueueError(f"{show_time(time.timestamp())} is in the past. Choose a later time.")
    return time.timestamp()


def _read_moment(text: str, now: datetime) -> datetime | None:
    try:
        if clock := _CLOCK.fullmatch(text):
            hour, minute = map(int, clock.groups())
            today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return today if today > now else today + timedelta(days=1)
        if later := _LATER.fullmatch(text):
            return now + timedelta(minutes=int(later[1]) * _MINUTES[later[2]])
        moment = datetime.fromisoformat(text.upper())
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


def show_time(seconds: float) -> str:
    """Returns a time as the clock of this computer shows it; "" for 0."""
    try:
        moment = datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.strftime("%Y-%m-%d %H:%M") if seconds else ""
