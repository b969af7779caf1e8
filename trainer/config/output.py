"""What the run leaves on disk."""

from typing import Literal

from pydantic import Field

from trainer.config.section import Section


class OutputConfig(Section):
    """Checkpoints to continue from, and the exported file."""

    checkpoint_every_steps: int = Field(
        default=250,
        ge=0,
        le=1_000_000,
        description="Steps between checkpoints; 0 saves one at the end only.",
    )
    keep_checkpoints: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Older checkpoints beyond this many are removed; 0 keeps all.",
    )
    precision: Literal["fp16", "bf16", "fp32"] = Field(
        default="fp16",
        description="Number format of the exported file; fp16 is read by every program.",
    )
    title: str = Field(
        default="",
        max_length=200,
        description="Title in the file's header; empty takes the run's name.",
    )
    author: str = Field(
        default="", max_length=200, description="Author in the file's header; empty leaves it out."
    )
    license: str = Field(
        default="", max_length=200, description="Licence in the file's header; empty leaves it out."
    )
    tag_counts: bool = Field(
        default=True,
        description="Writes how often each tag occurs in the captions into the file's header, "
        "which other programs show as trigger words.",
    )
