"""For which family of base models an adapter file was made, read from its names and shapes."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainer.files.read.keys import KeyGroup

FAMILY_TITLES = {"sd15": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL"}

Shapes = Mapping[str, tuple[int, ...]]

# Width of the text that cross attention reads.
_TEXT_WIDTHS = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
_CROSS = re.compile(r"attn2[._](?:processor[._])?to_[kv](?:_lora)?$")
_TEXT_ATTENTION = re.compile(r"^(?:lora_te1?_|text_encoder\.).*self_attn[._][qkv]_proj$")
_SECOND_ENCODER = re.compile(r"^(?:lora_te2_|text_encoder_2\.)")
# Only SDXL has more than one transformer block at a place.
_DEEP = re.compile(r"transformer_blocks[._][1-9]")
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
    """What a file says about its base model.

    Attributes:
        family: "sd15", "sd2" or "sdxl"; "" where it does not tell.
        certain: Whether names or shapes show it, not only the header.
        stranger: The architecture that it is for, where it is none of ours.
    """

    family: str
    certain: bool
    stranger: str = ""

    @property
    def title(self) -> str:
        """The family as people call it."""
        return self.stranger or FAMILY_TITLES.get(self.family, "an unknown family")


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
                return FamilyGuess("", certain=True, stranger=title)
    if any(_SECOND_ENCODER.match(group.spelling) for group in every):
        return FamilyGuess("sdxl", certain=True)
    stated = read_stated_family(metadata)
    for pattern in (_CROSS, _TEXT_ATTENTION):
        widths = {measure(g, shapes)[1] for g in every if pattern.search(g.spelling)}
        families = {_TEXT_WIDTHS[width] for width in widths if width in _TEXT_WIDTHS}
        if len(families) == 1:
            family = families.pop()
            # The first text encoder of SDXL is that of SD 1.x.
            ambiguous = pattern is _TEXT_ATTENTION and family == "sd15" and stated != "sd15"
            return FamilyGuess((stated or family) if ambiguous else family, certain=not ambiguous)
    if stated:
        return FamilyGuess(stated, certain=False)
    return FamilyGuess("sdxl" if any(_DEEP.search(g.spelling) for g in every) else "", False)


def read_stated_family(metadata: Mapping[str, str]) -> str:
    """Returns the family that a header names; "" for none."""
    version = metadata.get("ss_base_model_version", "")
    architecture = metadata.get("modelspec.architecture", "")
    for family, starts in _STATED.items():
        if version.startswith(starts[0]) or architecture.startswith(starts[1]):
            return family
    return ""


_STATED = {
    "sdxl": ("sdxl_", "stable-diffusion-xl-v1"),
    "sd2": ("sd_v2", "stable-diffusion-v2"),
    "sd15": ("sd_v1", "stable-diffusion-v1"),
}


def measure(group: KeyGroup, shapes: Shapes) -> tuple[int, int]:
    """Returns the rows of a layer's weight and the elements of a row; 0 for what is not told."""
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
