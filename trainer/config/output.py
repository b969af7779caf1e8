"""What the run leaves on disk."""

import urllib.parse
from typing import Literal

from pydantic import Field, field_validator

from trainer.config.section import Section
from trainer.formats.precision import PrecisionName


class OutputConfig(Section):
    """Checkpoints to continue from, and the exported file with its metadata."""

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
    formats: Literal["kohya", "peft", "both"] = Field(
        default="kohya",
        description="Layout of the exported file: every program reads kohya, only diffusers reads "
        "peft; both adds a second file that ends in -diffusers.",
    )
    precision: PrecisionName = Field(
        default="fp16",
        description="Number format of the exported file; fp16 is read by every program.",
    )
    header: Literal["full", "essential"] = Field(
        default="full",
        description="Metadata in the file: full contains the settings, essential only "
        "what programs need to load it and the texts below. Paths, user and folder names are never "
        "written.",
    )
    tag_counts: bool = Field(
        default=True,
        description="Writes how often each tag occurs in the captions into the file's header, "
        "which other programs show as trigger words.",
    )
    thumbnail: bool = Field(
        default=True,
        description="Puts the last sample into the file's header and, as an image of the same "
        "name, beside the file; programs show it in their lists.",
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
    description: str = Field(
        default="",
        max_length=2000,
        description="What the adapter is for, in a few sentences; empty leaves it out.",
    )
    usage_hint: str = Field(
        default="",
        max_length=500,
        description="How to use the adapter; empty means: put the trigger in the prompt.",
    )
    preferred_weight: float = Field(
        default=1.0,
        ge=-4,
        le=4,
        description="Weight of the adapter that is recommended to others.",
    )
    webhook: str = Field(
        default="",
        max_length=500,
        description="Address that gets a message in JSON when the run has ended, by POST, as "
        "Slack and Discord take it: https://…; empty sends none. It stays in the run's folder.",
    )

    @field_validator("webhook")
    @classmethod
    def _check_webhook(cls, address: str) -> str:
        if address and not _is_address(address):
            msg = "must be an address that begins with https:// or http://"
            raise ValueError(msg)
        return address


def _is_address(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable()
