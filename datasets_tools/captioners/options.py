"""What a captioner is, and what can be asked of it; torch stays outside."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

# From an upright RGB image to its caption; "" where the captioner is unsure.
Describe = Callable[[Image.Image], str]


@dataclass(frozen=True)
class CaptionerOptions:
    """How to caption.

    Attributes:
        device: "auto", "cpu", "cuda" or "mps".
        threshold: How sure a captioner that knows how sure it is must be, 0 .. 1; 0 takes its own.
        prompt: Instruction for a captioner that takes one; "" uses its default.
        max_words: A longer caption is cut at a word; 0 never cuts.
    """

    device: str = "auto"
    threshold: float = 0.0
    prompt: str = ""
    max_words: int = 0


@dataclass(frozen=True)
class Captioner:
    """A row of the table of captioners.

    Attributes:
        title: What the app calls it.
        summary: One sentence: what its captions are like, and for which base models they suit.
        load: From the model's folder to a function that captions; imports what it needs inside.
        model: Where the hub has the model, "owner/name"; "" if it comes along with Lorasmith.
        files: Names of the files of the model that are needed; a `*` stands for anything in a name.
        size_bytes: Of these files, for a question before the download.
        licence: Of the model.
        takes: Which of "threshold" and "prompt" it heeds; the others are refused.
        package: What must be installed for it alone; the extra of its name brings it.
    """

    title: str
    summary: str
    load: Callable[[Path, CaptionerOptions], Describe]
    model: str = ""
    files: tuple[str, ...] = ()
    size_bytes: int = 0
    licence: str = ""
    takes: tuple[str, ...] = ()
    package: str = ""

    @property
    def size(self) -> str:
        """What the model takes on the disk and from the network, for people."""
        return f"{self.size_bytes / 1e9:.1f} GB"
