"""By which layers InvokeAI recognises the base model that a LoRA file was made for.

InvokeAI asks nobody and reads no header of kohya's: it goes through the keys of a file in the order
of their bytes until one shows the width of the text that the UNet reads, and installs no file in
which none does. The rules were read in its code at commit 8e71a8a5 (August 2026); its functions and
these agreed on 136,520 subsets of the layers of all families, blocks and kinds. For files with
kohya's names:

1. A file whose keys are all of `lora_te1` is one for FLUX, whose files name their CLIP so.
2. The first width that a key shows decides: 768 is SD 1.x, 1024 SD 2.x, 1280 and 2048 SDXL; see
   `_MARKS` for the keys. `lora_te1` and `lora_te2` count together, and only where the last key of
   the first is one that shows a width: LoRA has lora_up there, which shows none.
3. Where no key shows a width of the four, a transformer block with the number 2 or above is SDXL.

So the time embedding of a resnet, whose input has 1280 channels in every family, makes a file one
for SDXL where diffusers' names of the blocks are used and no attention comes before it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.formats.families import FAMILIES, SDXL, FamilySpec

Shapes = Mapping[str, tuple[int, ...]]
FLUX = "flux"

# A width of 1280 is that of the time embedding, which some SDXL files have alone.
_BY_WIDTH = {spec.unet.text_width: spec.name for spec in FAMILIES.values()} | {1280: SDXL.name}
_FLUX_TEXT = re.compile(r"lora_te1_text_model_encoder_layers_\d+_(?:mlp|self_attn)_\w+")
_DEEP = re.compile(
    r"lora_unet_(?:(?:down|up)_blocks_\d+_attentions_\d+|mid_block_attentions_\d+"
    r"|(?:input|output)_blocks_\d+_\d+|middle_block_\d+)_transformer_blocks_(?:[2-9]|[1-9]\d)"
)
# What a key that shows a width belongs to; the first pattern that fits counts.
_MARKS = (
    ("attention", re.compile(r"lora_unet_.*_attn2_to_[kv]\.")),
    ("time", re.compile(r"lora_unet_.*time_emb_proj\.lora_down")),
    ("text", re.compile(r"lora_te_.*_self_attn_")),
    ("text_1", re.compile(r"lora_te1_.*_self_attn_")),
    ("text_2", re.compile(r"lora_te2_.*_self_attn_")),
)


@dataclass(frozen=True)
class Recognition:
    """What InvokeAI takes a file for.

    Attributes:
        base: A key of `FAMILIES`, "flux", or "" where it does not install the file.
        mark: What shows it: "attention", "time", "text", "names" or "depth"; "" for nothing.
        hidden: Where nothing shows it, whether layers are there that would in another kind of
            adapter: the factors of a LoKr of low rank show no width.
    """

    base: str
    mark: str = ""
    hidden: bool = False


def recognise_as_invoke(shapes: Shapes) -> Recognition:
    """Returns what InvokeAI takes a file with kohya's names for.

    Args:
        shapes: Of its tensors, by key, in the order of their bytes.
    """
    if shapes and all(_FLUX_TEXT.match(key) for key in shapes):
        return Recognition(FLUX, "names")
    width, mark = _find_width(shapes)
    if width in _BY_WIDTH:
        return Recognition(_BY_WIDTH[width], mark)
    if any(_DEEP.match(key) for key in shapes):
        return Recognition(SDXL.name, "depth")
    hidden = any("lokr_" in key and _find_mark(key) for key in shapes)
    return Recognition("", hidden=hidden)


def _find_width(shapes: Shapes) -> tuple[int, str]:
    """Returns the first width that a key shows, and what shows it; 0 where nothing does."""
    texts = {"text_1": 0, "text_2": 0}
    for key in shapes:
        mark = _find_mark(key)
        width = _measure_input(key, shapes) if mark else 0
        if mark in texts:
            texts[mark] = width
            mark, width = "text", sum(texts.values()) if all(texts.values()) else 0
        if width:
            return width, mark
    return 0, ""


def _find_mark(key: str) -> str:
    return next((mark for mark, pattern in _MARKS if pattern.match(key)), "")


def _measure_input(key: str, shapes: Shapes) -> int:
    """Returns the inputs of the layer that a tensor belongs to; 0 where the tensor shows none."""
    layer, _, part = key.partition(".")
    shape = shapes[key]
    if part in {"lora_down.weight", "hada_w1_b", "hada_w2_b", "diff"}:
        return shape[1] if len(shape) > 1 else 0
    if "lokr_" in part:
        sides = [shapes.get(f"{layer}.{side}", ()) for side in ("lokr_w1", "lokr_w2")]
        return sides[0][1] * sides[1][1] if all(len(side) > 1 for side in sides) else 0
    # (IA)³ multiplies the outputs, so that only a square weight shows its inputs.
    if part == "weight" and not layer.startswith("lora_unet_"):
        return shape[0] if shape else 0
    return 0


def name_outcome(recognition: Recognition) -> str:
    """Returns what InvokeAI does with a file that it takes for something else, or for nothing."""
    if not recognition.base:
        return "family not recognised, so not installed"
    return f"taken for {name_base(recognition)}"


def name_base(recognition: Recognition) -> str:
    """Returns the title of what a file is taken for."""
    return "FLUX" if recognition.base == FLUX else FAMILIES[recognition.base].title


def explain_as_invoke(recognition: Recognition, spec: FamilySpec) -> str:
    """Returns why InvokeAI does not take a file for what it is, as a sentence.

    Args:
        recognition: What it is taken for.
        spec: The family that it was made for.
    """
    if recognition.mark == "names":
        return "All layers are of the first text encoder, whose names are those of FLUX's."
    if recognition.mark == "time":
        return (
            "The time embedding of a resnet stands before every layer of cross attention and of "
            "the text encoder, and its width is taken for that of the text."
        )
    if recognition.mark:
        return f"The width of its text is that of {name_base(recognition)}."
    if recognition.hidden:
        return (
            "The layers that would reveal the family are LoKr of low rank, whose factors hide "
            "their width."
        )
    if spec.has_two_encoders:
        return (
            "No layer of cross attention, and none of the third transformer block at a place or a "
            "later one, reveals the family."
        )
    return "No layer of cross attention or of the text encoder's attention reveals the family."
