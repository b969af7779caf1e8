"""What is in the caption box: which image's caption, and as it was when it was read."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.examples import find_example
from datasets_tools.captions import revision_of


@dataclass(frozen=True)
class Edition:
    """What is in the caption box, and where it was read from. The browser carries it, as JSON.

    Attributes:
        dataset: The dataset's name.
        key: Of the example; "" when there is none.
        revision: What was read, so that a change by somebody else is seen.
        caption: The text as it was read or last saved; the box differs when someone has typed.
        serial: Another one each time that it is offered, so that what was saved is known again.
    """

    dataset: str = ""
    key: str = ""
    revision: str = ""
    caption: str = ""
    serial: str = ""

    def to_json(self) -> str:
        """Returns it as the browser carries it."""
        return json.dumps(asdict(self), ensure_ascii=False)


def read_edition(carried: str | None) -> Edition:
    """Returns what `Edition.to_json` wrote; an empty one for anything else."""
    try:
        return Edition(**{name: str(text) for name, text in json.loads(carried or "{}").items()})
    except (ValueError, TypeError, AttributeError):
        return Edition()


def open_edition(folder: Path, dataset: str, key: str) -> Edition:
    """Returns an example's caption for editing; one without a key when the example is gone."""
    example = find_example(folder, key)
    if example is None:
        return Edition(dataset)
    return Edition(dataset, key, revision_of(example.caption), example.caption)


def choose_key(keys: Sequence[str], wish: str, now: Edition, dataset: str) -> str:
    """Returns the example that is to be shown: the one asked for, the one shown now, or the first.

    Args:
        keys: The dataset's examples.
        wish: The example that somebody has asked for; "" for none.
        now: What is in the caption box.
        dataset: The one that is shown.
    """
    shown = now.key if now.dataset == dataset else ""
    return next((key for key in (wish, shown, *keys) if key in keys), "")


def is_outdated(now: Edition, fresh: Edition) -> bool:
    """Tells whether the caption box should hold something else than it does.

    A text that could not be saved, because the caption was changed elsewhere, is not outdated: it
    stays in the box until an image is chosen.
    """
    if (now.dataset, now.key) != (fresh.dataset, fresh.key):
        return True
    return now.revision == revision_of(now.caption) and now.revision != fresh.revision
