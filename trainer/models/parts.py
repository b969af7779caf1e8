"""One model of a base model, as it lies in files."""

from dataclasses import dataclass
from typing import Any

from trainer.formats.header import TensorFile


@dataclass(frozen=True)
class Part:
    """Where a UNet, a VAE or a text encoder is found.

    Attributes:
        config: Its config, as diffusers or transformers spells it.
        files: The files that hold its tensors.
        prefix: What its tensors' names begin with.
        naming: How the rest of the names is spelled, a row of `layouts.NAMINGS`.
    """

    config: dict[str, Any]
    files: tuple[TensorFile, ...]
    prefix: str = ""
    naming: str = "diffusers"
