"""Captioning a folder: what a captioner says lands beside each picture, one by one.

Every caption is written as soon as it is made, and can be taken back (see `rewriting`). What a
person has changed meanwhile is theirs and stays.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from datasets_tools.captioners.options import Describe, Existing
from datasets_tools.captions import caption_path, read_caption
from datasets_tools.edits import add_tag
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import natural_order, scan_folder
from datasets_tools.images import read_image
from datasets_tools.rewriting import Rewriting

Outcome = Literal["written", "unsure", "kept", "failed"]


@dataclass(frozen=True)
class Captioned:
    """What became of one picture's caption.

    Attributes:
        image: The picture's file name.
        caption: What its caption file says now.
        outcome: "written"; "unsure" where the captioner could not tell; "kept" where there was a
            caption that stays; "failed" where the picture or its caption could not be used.
        message: Why it was not written, in a sentence; "" where that needs no words.
        done: So many pictures have had their turn.
        total: So many there are.
    """

    image: str
    caption: str
    outcome: Outcome
    message: str
    done: int
    total: int


Report = Callable[[Captioned], None]


@dataclass
class _Picture:
    """A picture of the dataset and the caption that it had at the start."""

    path: Path
    before: str = ""
    problem: str = ""


@dataclass
class _Round:
    """One go through a dataset."""

    describe: Describe
    existing: Existing
    rewriting: Rewriting
    first_by_caption: dict[Path, Path] = field(default_factory=dict)

    def caption(self, picture: _Picture) -> tuple[str, Outcome, str]:
        """Returns a picture's caption as it is now, the outcome, and why.

        Raises:
            DatasetError: it cannot be read, described or written.
        """
        if picture.problem:
            raise DatasetError(picture.problem)
        if self.existing == "keep" and picture.before:
            return picture.before, "kept", ""
        first = self.first_by_caption.get(caption_path(picture.path))
        if first is not None:
            msg = f"It shares its caption with {show_name(first)}. Rename one of the two."
            return read_caption(picture.path), "kept", msg
        suggestion = self.describe(read_image(picture.path))
        now = read_caption(picture.path)
        if now != picture.before:
            return now, "kept", "Its caption was edited meanwhile."
        if not suggestion:
            return now, "unsure", "The captioner cannot tell what this is."
        self.first_by_caption[caption_path(picture.path)] = picture.path
        text = add_tag(now, suggestion) if self.existing == "append" else suggestion
        if not self.rewriting.write(picture.path, text):
            return now, "kept", "It says that already."
        return read_caption(picture.path), "written", ""


def caption_folder(
    folder: Path, describe: Describe, existing: Existing, report: Report, what: str
) -> dict[str, int]:
    """Captions the pictures of a dataset in their order; returns how often each outcome came.

    A picture that cannot be read or described is reported and does not end the rest. Trigger words
    are no matter of captions here: the trainer puts them in front.

    Args:
        folder: The dataset.
        describe: From an upright RGB picture to its caption; "" where it cannot tell.
        existing: What happens to a caption that is there: it is kept, what is new is put behind
            it with a comma, or it is replaced.
        report: Called after each picture.
        what: The change in a few words, for whoever is asked whether to take it back.

    Raises:
        DatasetError: the folder is missing, cannot be read, or holds no image.
    """
    pictures = _list_pictures(folder)
    tally: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
    going = _Round(describe, existing, Rewriting(folder, what))
    for done, picture in enumerate(pictures, 1):
        try:
            caption, outcome, message = going.caption(picture)
        except DatasetError as error:
            caption, outcome, message = picture.before, "failed", str(error)
        tally[outcome] += 1
        name = picture.path.name
        report(Captioned(name, caption, outcome, message, done, len(pictures)))
    return tally


def _list_pictures(folder: Path) -> list[_Picture]:
    """Returns all pictures of a dataset in its order, also those that cannot be used."""
    examples, findings = scan_folder(folder)
    found = {example.path: _Picture(example.path, example.caption) for example in examples}
    for finding in findings:
        if finding.severity == "error" and finding.path is not None:
            found[finding.path] = _Picture(finding.path, problem=finding.message)
    return sorted(found.values(), key=lambda picture: natural_order(picture.path))
