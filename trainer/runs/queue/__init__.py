"""A queue: an order of runs, and a worker that starts the next one when its device is free."""

from trainer.runs.queue.changes import add_run, move_run, pause_queue, remove_run, start_queue
from trainer.runs.queue.devices import (
    DeviceBusyError,
    is_device_free,
    own_devices,
    own_free_devices,
    use_devices,
)
from trainer.runs.queue.file import change_queue, read_queue
from trainer.runs.queue.order import Entry, Queue, QueueError
from trainer.runs.queue.rows import Row, list_rows
from trainer.runs.queue.worker import ensure_worker, has_queue_worker, serve_queue

__all__ = [
    "DeviceBusyError",
    "Entry",
    "Queue",
    "QueueError",
    "Row",
    "add_run",
    "change_queue",
    "ensure_worker",
    "has_queue_worker",
    "is_device_free",
    "list_rows",
    "move_run",
    "own_devices",
    "own_free_devices",
    "pause_queue",
    "read_queue",
    "remove_run",
    "serve_queue",
    "start_queue",
    "use_devices",
]
