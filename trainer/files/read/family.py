"""For which family of base models an adapter file was made, read from its names and shapes."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainer.files.read.keys import KeyGroup
from trainer.formats.families import FAMILIES, FamilySpec

Shapes = Mapping[str, tuple[int, ...]]

_BY_TEXT_WIDTH = {each.unet.text_width: each for each in FAMILIES.values()}
_CROSS = re.compile(r"attn2[._](?:processor[._])?to_[kv](?:_lora)?$")
_TEXT_ATTENTION = re.compile(r"^(?:lora_te1?_|text_encoder\.).*self_attn[._][qkv]_proj$")
_SECOND_ENCODER = re.compile(r"^(?:lora_te2_|text_encoder_2\.)")
_DEEP = re.compile(r"transformer_blocks[._][1-9]")
_WITH_DEEP_BLOCKS = next(each.name for each in FAMILIES.values() if each.has_deep_blocks)
_WITH_TWO_ENCODERS = next(each.name for each in FAMILIES.values() if each.has_two_encoders)
_STRANGERS = (
    (re.compile(r"double_blocks|single_blocks|single_transformer_blocks"), "Flux"),
    (re.compile(r"joint_blocks|attn[._]add_[qkv]_proj|context_block"), "Stable Diffusion 3"),
    (re.compile(r"lora_prior_|lora_unet_.*_channelwise"), "Stable Cascade"),
    (re.compile(r"motion_modules"), "AnimateDiff"),
    (re.compile(r"^(?:lora_)?transformer[._]|^diffusion_model[._](?:layers|blocks)[._]"),
     "another architecture (a diffusion transformer)"),
)  # fmt: skip


@dataclass(frozen=True)
class FamilyGuess:
    """What a file reveals about its base model.

    Attributes:
        family: A key of `FAMILIES`; "" where unknown.
        certain: Whether names or shapes show it, not only the header.
        unsupported: The architecture that it is for, where it is none of ours.
    """

    family: str
    certain: bool
    unsupported: str = ""

    @property
    def spec(self) -> FamilySpec | None:
        """The family's facts; None where unknown."""
        return FAMILIES.get(self.family)

    @property
    def title(self) -> str:
        """The family as people call it."""
        return self.unsupported or (self.spec.title if self.spec else "an unknown family")


def guess_family(
    groups: Iterable[KeyGroup], shapes: Shapes, metadata: Mapping[str, str]
) -> FamilyGuess:
    """Returns the family that a file was made for.

    Args:
        groups: Its layers.
        shapes: Of its tensors, by key.
        metadata: Its header, which decides only where names and shapes do not.
    """
    every = list(groups)
    for group in every:
        for pattern, title in _STRANGERS:
            if pattern.search(group.spelling):
                return FamilyGuess("", certain=True, unsupported=title)
    if any(_SECOND_ENCODER.match(group.spelling) for group in every):
        return FamilyGuess(_WITH_TWO_ENCODERS, certain=True)
    stated = read_stated_family(metadata)
    for pattern in (_CROSS, _TEXT_ATTENTION):
        widths = {measure(g, shapes)[1] for g in every if pattern.search(g.spelling)}
        families = {_BY_TEXT_WIDTH[width].name for width in widths if width in _BY_TEXT_WIDTH}
        if len(families) == 1:
            family: str = families.pop()
            ambiguous = pattern is _TEXT_ATTENTION and stated != family and _shares_encoder(family)
            return FamilyGuess((stated or family) if ambiguous else family, certain=not ambiguous)
    if stated:
        return FamilyGuess(stated, certain=False)
    return FamilyGuess(
        _WITH_DEEP_BLOCKS if any(_DEEP.search(g.spelling) for g in every) else "", False
    )


def _shares_encoder(family: str) -> bool:
    """Whether another family begins with the same text encoder, as SDXL with that of SD 1.x."""
    own = FAMILIES[family].text_encoders[0].width
    others = (each for each in FAMILIES.values() if each.name != family)
    return any(each.text_encoders[0].width == own for each in others)


def read_stated_family(metadata: Mapping[str, str]) -> str:
    """Returns the family that a header names; "" for none."""
    version = metadata.get("ss_base_model_version", "")
    architecture = metadata.get("modelspec.architecture", "")
    # Where the two entries disagree, the newest family is meant.
    for spec in reversed(FAMILIES.values()):
        by_version = version.startswith(spec.version_prefix)
        if by_version or architecture.startswith(spec.architecture_prefix):
            return spec.name
    return ""


def measure(group: KeyGroup, shapes: Shapes) -> tuple[int, int]:
    """Returns the rows of a layer's weight and the elements of a row; 0 where unknown."""
    size = {part: shapes[key] for part, key in group.keys.items()}

    def rows(part: str) -> int:
        return size[part][0] if size.get(part) else 0

    def row(part: str) -> int:
        return math.prod(size[part][1:]) if part in size else 0

    kernel = next(
        (math.prod(size[p][2:]) for p in ("lora_mid.weight", "hada_t1", "lokr_t2") if p in size), 1
    )
    if group.kind == "lora":
        return rows("lora_up.weight"), row("lora_down.weight") * kernel
    if group.kind == "loha":
        if "hada_t1" in size:
            return row("hada_w1_a"), row("hada_w1_b") * kernel
        return rows("hada_w1_a"), row("hada_w1_b")
    if group.kind == "lokr":
        first = (rows("lokr_w1") or rows("lokr_w1_a"), row("lokr_w1") or row("lokr_w1_b"))
        turned = "lokr_t2" in size
        second = (
            rows("lokr_w2") or (row if turned else rows)("lokr_w2_a"),
            row("lokr_w2") or row("lokr_w2_b") * kernel,
        )
        return first[0] * second[0], first[1] * second[1]
    return rows("diff"), row("diff")


def read_rank(group: KeyGroup, shapes: Shapes) -> int:
    """Returns a layer's rank; 0 where it has none."""
    for part in ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        key = group.keys.get(part)
        if key is not None and shapes[key]:
            return shapes[key][0]
    return 0
