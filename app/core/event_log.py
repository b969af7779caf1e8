"""A run's events, read once: each look reads only what was appended since the last one."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from trainer.runs import EventReader, RunFolder
from trainer.runs.events import Event

_KEPT_RUNS = 64


@dataclass
class _Journal:
    reader: EventReader
    identity: tuple[int, int]
    events: list[Event] = field(default_factory=list)


_journals: OrderedDict[Path, _Journal] = OrderedDict()
_lock = threading.Lock()


def read_journal(run: RunFolder) -> list[Event]:
    """Returns all events of a run.

    What is kept between calls is only a copy of the file's beginning: when the file was replaced
    or became shorter, it is read anew.
    """
    path = run.events_path
    try:
        facts = path.stat()
    except FileNotFoundError:
        return []
    identity = (facts.st_dev, facts.st_ino)
    with _lock:
        journal = _journals.get(path)
        if journal is None or journal.identity != identity or facts.st_size < journal.reader.offset:
            journal = _Journal(EventReader(path), identity)
            _journals[path] = journal
        journal.events.extend(journal.reader.read_new())
        _journals.move_to_end(path)
        while len(_journals) > _KEPT_RUNS:
            _journals.popitem(last=False)
        return list(journal.events)
