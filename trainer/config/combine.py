"""Settings of the commands that combine and change files: merge, resize, scale, extract, bake."""

import math
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from trainer.config.options import Options, as_argument, used_with
from trainer.formats.precision import PrecisionName

MajoritySign = Literal["total", "frequency"]

_SPARSE = ("ties", "dare_linear", "dare_ties")
# A layer name starts with a letter or a star, so that no pattern can be taken for an option.
_PATTERN = re.compile(r"([A-Za-z*][A-Za-z0-9_.*?\[\]-]*)=([0-9.eE+-]+)")
_MAX_RANK = 4096


def _precision() -> PrecisionName:
    return Field(
        default="fp16",
        title="Number format",
        description="Number format of the result; fp16 is what programs expect.",
    )


def _optional_base_model() -> str:
    return Field(
        default="",
        title="Base model",
        description="A base model that the files fit; DoRA files need it.",
    )


class MergeOptions(Options):
    """How several LoRA files become one."""

    method: Literal[
        "svd", "concatenate", "orthogonal", "ties", "dare_linear", "dare_ties", "linear"
    ] = Field(
        default="svd", description="How to merge; `lorasmith docs merging` compares the methods."
    )
    rank: int = Field(
        default=0,
        ge=0,
        le=_MAX_RANK,
        description="Rank of the result; 0 takes the exact one where the method has one, else the "
        "largest of the files.",
    )
    energy: float = Field(
        default=1.0,
        gt=0,
        le=1,
        title="Energy to keep",
        description="Share of each layer's energy (squared norm): below 1, a layer gets the lowest "
        "rank that keeps it.",
    )
    density: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of each file's numbers that stays (ties and dare).",
        json_schema_extra=used_with(method=_SPARSE),
    )
    majority_sign: MajoritySign = Field(
        default="total",
        description="What decides the sign of a number (ties): total, the sum of the files' "
        "values, or frequency, the number of files.",
        json_schema_extra=used_with(method=("ties", "dare_ties")),
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        title="Seed of what is dropped",
        description="Another seed drops other numbers (dare).",
        json_schema_extra=used_with(method=("dare_linear", "dare_ties")),
    )
    signs: bool = Field(
        default=False, description="Count sign conflicts for the report, which takes longer."
    )
    precision: PrecisionName = _precision()
    base_model: str = _optional_base_model()


class RankChoice(Options):
    """How much of a delta is kept; where several are given, the one that keeps least decides."""

    rank: int = Field(
        default=0,
        ge=0,
        le=_MAX_RANK,
        description="Highest rank of a layer; 0 sets no limit.",
    )
    conv_rank: int = Field(
        default=0,
        ge=0,
        le=_MAX_RANK,
        title="Rank of convolutions",
        description="The same for convolutions larger than 1 × 1; 0 takes the rank of the others.",
    )
    energy: float = Field(
        default=1.0,
        gt=0,
        le=1,
        title="Energy to keep",
        description="Share of each layer's energy (squared norm): below 1, a layer gets the lowest "
        "rank that keeps it.",
    )
    ratio: float = Field(
        default=0.0,
        ge=0,
        title="Ratio of singular values",
        description="Keeps singular values of at least the largest one divided by this number, "
        "which is 1 or more; 0 keeps all.",
    )

    @field_validator("ratio")
    @classmethod
    def _check_ratio(cls, ratio: float) -> float:
        if 0 < ratio < 1:
            msg = f"must be 1 or more, or 0 to keep all, but is {ratio:g}"
            raise ValueError(msg)
        return ratio

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is left out."""
        return not self.rank and not self.conv_rank and self.energy >= 1 and not self.ratio

    def limit_of(self, *, wide: bool) -> int:
        """Returns the rank limit of a layer, 0 for none; `wide`: its kernel is above 1 × 1."""
        return self.conv_rank or self.rank if wide else self.rank


class _Reduction(RankChoice):
    precision: PrecisionName = _precision()

    @model_validator(mode="after")
    def _check_something_goes(self) -> Self:
        if self.keeps_all:
            msg = "Give the rank to keep, a share of the energy below 1, or a ratio."
            raise ValueError(msg)
        return self


class ResizeOptions(_Reduction):
    """How a LoRA file gets another rank."""

    base_model: str = _optional_base_model()


class ExtractOptions(_Reduction):
    """How a LoRA is extracted from two checkpoints."""

    base_model: str = Field(
        min_length=1,
        title="Base model",
        description="The base model that the LoRA will be used on.",
        json_schema_extra=as_argument("BASE"),
    )
    tuned_model: str = Field(
        min_length=1,
        title="Tuned base model",
        description="The base model whose difference from the first one the LoRA will hold.",
        json_schema_extra=as_argument("TUNED"),
    )


def _factor(title: str, what: str) -> float:
    return Field(
        default=1.0,
        ge=0,
        le=2,
        title=title,
        description=f"Factor of {what}; 0 leaves them out.",
    )


class ScaleOptions(Options):
    """How the layers of a LoRA file get other strengths."""

    down_blocks: float = _factor("Down blocks", "the UNet's down blocks")
    mid_block: float = _factor("Middle block", "the UNet's middle layers")
    up_blocks: float = _factor("Up blocks", "the UNet's up blocks")
    text_encoder: float = _factor("Text encoder", "the text encoders")
    patterns: list[str] = Field(
        default_factory=list,
        title="Single layers",
        description="Layers and their factor, as unet.down_blocks.1.*=0.5; the first pattern that "
        "matches a layer decides, before the factors of blocks.",
        json_schema_extra=as_argument("PATTERN=FACTOR"),
    )
    precision: PrecisionName = _precision()
    base_model: str = _optional_base_model()

    @field_validator("patterns")
    @classmethod
    def _split_patterns(cls, patterns: list[str]) -> list[str]:
        texts = [text for line in patterns for text in line.split()]
        for text in texts:
            _split_factor(text)
        return texts

    @model_validator(mode="after")
    def _check_something_changes(self) -> Self:
        if not self.list_factors():
            msg = "Nothing changes: give a block a factor other than 1, or name layers."
            raise ValueError(msg)
        return self

    def list_factors(self) -> list[tuple[str, float]]:
        """Returns pattern and factor of all layers that change; the first that matches decides."""
        blocks = {
            "unet.down_blocks.*": self.down_blocks,
            "unet.mid_block.*": self.mid_block,
            "unet.up_blocks.*": self.up_blocks,
            "text_encoder*": self.text_encoder,
        }
        factors = [(pattern, factor) for pattern, factor in blocks.items() if factor != 1]
        return [*map(_split_factor, self.patterns), *factors]


class BakeOptions(Options):
    """Into which base model LoRA files are baked."""

    base_model: str = Field(
        min_length=1,
        title="Base model",
        description="The base model to change; it stays as it is, and a new one is written.",
    )


class SubtractOptions(BakeOptions):
    """From which base model LoRA files that were baked into it are removed."""


# By the command's name: what the app, the command line and the reference list.
COMBINE_OPTIONS: dict[str, type[Options]] = {
    "merge": MergeOptions,
    "resize": ResizeOptions,
    "scale": ScaleOptions,
    "extract": ExtractOptions,
    "bake": BakeOptions,
    "subtract": SubtractOptions,
}


def _split_factor(text: str) -> tuple[str, float]:
    match = _PATTERN.fullmatch(text)
    try:
        factor = float(match[2]) if match else math.nan
    except ValueError:
        factor = math.nan
    if match is None or not math.isfinite(factor):
        shown = text if len(text) <= 60 else f"{text[:59]}…"
        msg = f"“{shown}” is no PATTERN=FACTOR, such as unet.down_blocks.*=0.5"
        raise ValueError(msg)
    return match[1], factor
