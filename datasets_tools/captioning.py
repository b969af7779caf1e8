"""Captioning a folder: writes a captioner's text beside each image, one by one.

Every caption is written as soon as it is made, and can be undone (see `rewriting`). Captions that
a person has edited meanwhile are not changed.
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
    """The result for one image's caption.

    Attributes:
        image: The image's file name.
        caption: The current content of its caption file.
        outcome: "written"; "unsure" where the captioner gave no caption; "kept" where an existing
            caption was kept; "failed" where the image or its caption could not be used.
        message: Why it was not written, in a sentence; "" where that needs no reason.
        done: Number of images processed.
        total: Number of images in all.
    """

    image: str
    caption: str
    outcome: Outcome
    message: str
    done: int
    total: int


Report = Callable[[Captioned], None]


@dataclass
class _Image:
    """An image of the dataset and the caption that it had at the start."""

    path: Path
    before: str = ""
    problem: str = ""


@dataclass
class _Captioning:
    """The state of captioning one dataset."""

    describe: Describe
    existing: Existing
    rewriting: Rewriting
    first_by_caption: dict[Path, Path] = field(default_factory=dict)

    def caption(self, image: _Image) -> tuple[str, Outcome, str]:
        """Returns an image's caption as it is now, the outcome, and why.

        Raises:
            DatasetError: it cannot be read, described or written.
        """
        if image.problem:
            raise DatasetError(image.problem)
        if self.existing == "keep" and image.before:
            return image.before, "kept", ""
        first = self.first_by_caption.get(caption_path(image.path))
        if first is not None:
            msg = f"It shares its caption with {show_name(first)}. Rename one of the two."
            return read_caption(image.path), "kept", msg
        suggestion = self.describe(read_image(image.path))
        now = read_caption(image.path)
        if now != image.before:
            return now, "kept", "Its caption was edited meanwhile."
        if not suggestion:
            return now, "unsure", "The captioner is not sure what this is."
        self.first_by_caption[caption_path(image.path)] = image.path
        text = add_tag(now, suggestion) if self.existing == "append" else suggestion
        if not self.rewriting.write(image.path, text):
            return now, "kept", "The caption is the same already."
        return read_caption(image.path), "written", ""


def caption_folder(
    folder: Path, describe: Describe, existing: Existing, report: Report, what: str
) -> dict[str, int]:
    """Captions the images of a dataset in their order; returns how often each outcome came.

    An image that cannot be read or described is reported and does not end the rest. Trigger words
    are not part of captions here: the trainer puts them in front.

    Args:
        folder: The dataset.
        describe: From an upright RGB image to its caption; "" where it is unsure.
        existing: What happens to a caption that is there: it is kept, the new text is appended
            with a comma, or it is replaced.
        report: Called after each image.
        what: A short description of the change, shown for undo.

    Raises:
        DatasetError: the folder is missing, cannot be read, or holds no image.
    """
    images = _list_images(folder)
    tally: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
    captioning = _Captioning(describe, existing, Rewriting(folder, what))
    for done, image in enumerate(images, 1):
        try:
            caption, outcome, message = captioning.caption(image)
        except DatasetError as error:
            caption, outcome, message = image.before, "failed", str(error)
        tally[outcome] += 1
        name = image.path.name
        report(Captioned(name, caption, outcome, message, done, len(images)))
    return tally


def _list_images(folder: Path) -> list[_Image]:
    """Returns all images of a dataset in its order, also those that cannot be used."""
    examples, findings = scan_folder(folder)
    images = {example.path: _Image(example.path, example.caption) for example in examples}
    for finding in findings:
        if finding.severity == "error" and finding.path is not None:
            images[finding.path] = _Image(finding.path, problem=finding.message)
    return sorted(images.values(), key=lambda image: natural_order(image.path))
