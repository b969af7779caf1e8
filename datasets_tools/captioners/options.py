"""What a captioner is, and what can be asked of it; torch stays outside."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

# From an upright RGB picture to its caption; "" where the captioner cannot tell.
Describe = Callable[[Image.Image], str]
Existing = Literal["keep", "append", "replace"]


class CaptionerOptions(BaseModel):
    """How a captioner works."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Where it computes; auto takes the GPU if there is one."
    )
    threshold: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="How sure it must be (starter, tagger); 0 takes its own threshold.",
    )
    prompt: str = Field(
        default="",
        description="How a caption begins (blip), the task (florence2), or the instruction (vlm); "
        "empty takes its own.",
    )
    max_words: int = Field(
        default=0,
        ge=0,
        description="A longer caption is cut at a word; 0 never cuts.",
    )


class CaptionOptions(CaptionerOptions):
    """How a dataset is captioned."""

    captioner: str = Field(
        default="starter",
        description="Who writes the captions: one that `lorasmith captioners` lists.",
    )
    existing: Existing = Field(
        default="keep",
        description="What becomes of existing captions: keep them, append the new caption after a "
        "comma, or replace them.",
    )
    model: str = Field(
        default="",
        description="Another model of the same kind: its folder, or OWNER/NAME on the hub.",
    )


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
