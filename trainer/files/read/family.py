"""For which family of base models an adapter file was made, read from its names and shapes."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainer.files.read.keys import KeyGroup
from trainer.formats.families import FAMILIES, FamilySpec, list_titles
from trainer.formats.spellings import parse_name
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES

Shapes = Mapping[str, tuple[int, ...]]

_BY_TEXT_WIDTH = {each.unet.text_width: each.name for each in FAMILIES.values()}
_CROSS = re.compile(r"attn2\.to_[kv]$")
_DEEP = re.compile(r"\.transformer_blocks\.[1-9]")
_WITH_DEEP_BLOCKS = {each.name for each in FAMILIES.values() if each.has_deep_blocks}
_WITH_TWO_ENCODERS = {each.name for each in FAMILIES.values() if each.has_two_encoders}
_KOHYA_TEXT = re.compile(r"(lora_te\d?)_")
_STRANGERS = (
    (re.compile(r"double_blocks|single_blocks|single_transformer_blocks"), "Flux"),
    (re.compile(r"joint_blocks|attn[._]add_[qkv]_proj|context_block"), "Stable Diffusion 3"),
    (re.compile(r"lora_prior_|lora_unet_.*_channelwise"), "Stable Cascade"),
    (re.compile(r"motion_modules"), "AnimateDiff"),
    (re.compile(r"^lora_te3_|^t5xxl\.|^text_encoders\.t5"), "Stable Diffusion 3 or Flux"),
    (re.compile(r"^(?:base_model\.model\.)?(?:lora_)?transformer[._]|^diffusion_model[._](?:layers|blocks)[._]"),
     "another architecture (a diffusion transformer)"),
)  # fmt: skip


@dataclass(frozen=True)
class FamilyGuess:
    """What a file reveals about its base model.

    Attributes:
        family: A key of `FAMILIES`; "" where unknown.
        certain: Whether names or shapes show it, not only the header.
        unsupported: The architecture that it is for, where it is none of ours.
        candidates: Where several families fit, which ones.
    """

    family: str
    certain: bool
    unsupported: str = ""
    candidates: tuple[str, ...] = ()

    @property
    def spec(self) -> FamilySpec | None:
        """The family's facts; None where unknown."""
        return FAMILIES.get(self.family)

    @property
    def by_header(self) -> bool:
        """Whether only the header shows the family."""
        return bool(self.family) and not self.certain

    @property
    def title(self) -> str:
        """The family as people call it, or all that fit."""
        if self.spec is not None:
            return self.spec.title
        fitting = list_titles(self.candidates) if self.candidates else ""
        return self.unsupported or fitting or "an unknown family"


def guess_family(groups: Mapping[str, KeyGroup], shapes: Shapes) -> FamilyGuess:
    """Returns the family that names show, or those that the width of a text encoder allows.

    Args:
        groups: Its layers, by their name in the file.
        shapes: Of its tensors, by key.
    """
    for name in groups:
        for pattern, title in _STRANGERS:
            if pattern.search(name):
                return FamilyGuess("", certain=True, unsupported=title)
    layers = _parse(groups)
    sizes = {layer: measure(groups[name], shapes) for name, layer in layers.items()}
    shown = _read_unet(sizes)
    if len(shown) == 1:
        return FamilyGuess(shown.pop(), certain=True)
    fitting = _match_text_width(sizes)
    return FamilyGuess("", False, candidates=tuple(each for each in FAMILIES if each in fitting))


def prefer_by_prefix(families: Iterable[str], names: Iterable[str]) -> list[str]:
    """Returns those of some families whose text encoders kohya names as a file does."""
    used = {match[1] for name in names if (match := _KOHYA_TEXT.match(name))}
    every = list(families)
    if not used:
        return every
    return [
        each
        for each in every
        if used <= {encoder.prefix for encoder in FAMILIES[each].text_encoders}
    ] or every


def _parse(names: Iterable[str]) -> dict[str, str]:
    """Returns the layers that names stand for in any family."""
    layers: dict[str, str] = {}
    for name in names:
        parsed = parse_name(name, SD_NAMES) or parse_name(name, SDXL_NAMES)
        if parsed is not None:
            layers[name] = parsed.layer
    return layers


def _read_unet(sizes: Mapping[str, tuple[int, int]]) -> set[str]:
    """Returns the families that layers show which only one family has."""
    if any(layer.startswith("text_encoder_2.") for layer in sizes):
        return set(_WITH_TWO_ENCODERS)
    if any(_DEEP.search(layer) for layer in sizes):
        return set(_WITH_DEEP_BLOCKS)
    widths = {size[1] for layer, size in sizes.items() if _CROSS.search(layer)}
    return {_BY_TEXT_WIDTH[width] for width in widths if width in _BY_TEXT_WIDTH}


def _match_text_width(sizes: Mapping[str, tuple[int, int]]) -> set[str]:
    """Returns the families whose first text encoder has the width of a file's layers."""
    widths = {
        size[0] if layer.endswith("fc2") else size[1]
        for layer, size in sizes.items()
        if layer.startswith("text_encoder.text_model.encoder.")
    }
    specs = FAMILIES.values()
    return {each.name for each in specs if {each.text_encoders[0].width} == widths - {0}}


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
    if group.kind == "glora":
        # Two orders of factors; a1 is wide in the older one.
        older = rows("glora_a1") < row("glora_a1")
        outer, inner = ("glora_b2", "glora_b1") if older else ("glora_b1", "glora_b2")
        return rows(outer), row(inner)
    return rows("diff"), row("diff")


def read_rank(group: KeyGroup, shapes: Shapes) -> int:
    """Returns a layer's rank; 0 where it has none."""
    for part in ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        key = group.keys.get(part)
        if key is not None and shapes[key]:
            return shapes[key][0]
    if group.kind == "glora" and "glora_a1" in group.keys:
        return min(shapes[group.keys["glora_a1"]][:2], default=0)
    return 0
