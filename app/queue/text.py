"""Sentences of the queue."""

HEADING = "Queue"
PAUSE = "Pause the queue"
START = "Start the queue"
PAUSED = "The queue is paused: no further run is started. Those that are running go on."
HEADS = ("Run", "Device", "State", "Time")
UP = "↑"
DOWN = "↓"
REMOVE = "Remove"
LATER = "Start at"
SET_TIME = "Set"
AGAIN = "Its process ended unexpectedly; it is started again"
WAITING = "Waiting"
NO_TIME = "The time could not be read. Choose a day and a time, or leave both empty."
AT_ANY_TIME = "It starts as soon as its device is free."
REMOVED = "Removed from the queue. The run is still in the Library, and Resume starts it."
PAUSED_NOW = "Paused. Runs that are being trained go on."
STARTED_NOW = "Going on."


def count(waiting: int, *, paused: bool) -> str:
    return f"queue {waiting}{' (paused)' if paused else ''}"


def not_before(time: str) -> str:
    return f"not before {time}"


def starts_at(time: str) -> str:
    return f"It starts at {time}, or later if its device is not free."


def move_up(name: str) -> str:
    return f"Move {name} up"


def move_down(name: str) -> str:
    return f"Move {name} down"


def remove(name: str) -> str:
    return f"Remove {name} from the queue"


def time_of(name: str) -> str:
    return f"Time at which {name} may start; empty for at once"
