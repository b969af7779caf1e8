"""What a check is given, and what it answers with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from datasets_tools.buckets import Placement
from datasets_tools.checks.duplicates import Pair
from datasets_tools.checks.measures import Measures
from datasets_tools.errors import show_name
from datasets_tools.examples import Example

NAMES_SHOWN = 3

Severity = Literal["error", "warning", "note"]
Goal = Literal["", "style", "character", "object", "person"]


@dataclass(frozen=True)
class Subject:
    """A dataset as the checks see it.

    Attributes:
        examples: The usable images with their captions.
        measures: Of each example, in the same order; None where it was not measured.
        placements: How each gets into its bucket.
        pairs: Which show the same image, by place.
        trigger: The trigger word; "" for none.
        goal: What is to be learned; "" where that is unknown.
        resolution: The side of the square whose area the buckets have.
        unreadable: Places of examples whose caption file cannot be read.
    """

    examples: Sequence[Example]
    measures: Sequence[Measures | None]
    placements: Sequence[Placement]
    pairs: Sequence[Pair] = ()
    trigger: str = ""
    goal: Goal = ""
    resolution: int = 512
    unreadable: frozenset[int] = frozenset()

    def name(self, place: int) -> str:
        """Returns the name of an image, fit for a sentence."""
        return show_name(self.examples[place].path)

    def list_names(self, places: Sequence[int]) -> str:
        """Returns the first names of some images, and how many more there are."""
        names = ", ".join(self.name(place) for place in places[:NAMES_SHOWN])
        more = len(places) - NAMES_SHOWN
        return f"{names} and {more} more" if more > 0 else names

    def find(self, matches: Callable[[Measures], bool]) -> list[int]:
        """Returns the places of the images whose measures match."""
        return [at for at, one in enumerate(self.measures) if one is not None and matches(one)]


@dataclass(frozen=True)
class Hit:
    """What one check reports: the images that it is about, and a sentence with its remedy."""

    images: tuple[int, ...]
    message: str


@dataclass(frozen=True)
class Check:
    """One row of the table of checks.

    Attributes:
        code: Its name in reports and commands.
        title: A few words, for the badge on an image and the heading of the finding.
        severity: "error" keeps the dataset from being trained, a "note" may be intended.
        measures: What it looks at, with the limit, for the documentation.
        find: Returns what it finds; groups that have remedies of their own come apart.
        remedy: The key of the remedy, see `remedies`; "" where there is only advice.
    """

    code: str
    title: str
    severity: Severity
    measures: str
    find: Callable[[Subject], Iterable[Hit]]
    remedy: str = ""


@dataclass(frozen=True)
class CheckFinding:
    """What a check found in a dataset.

    Attributes:
        code, title, severity, remedy: As in `Check`.
        message: One or two sentences: what is so, where, and what to do.
        names: The files that it is about; none where it is about the whole dataset.
    """

    code: str
    title: str
    severity: Severity
    message: str
    names: tuple[str, ...] = field(default=())
    remedy: str = ""


def count(number: int, one: str, many: str) -> str:
    """Returns a number with its noun and verb: "1 image is", "3 images are"."""
    return f"{number} {one if number == 1 else many}"
