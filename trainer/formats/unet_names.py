"""Two spellings of the UNet's modules: diffusers' own and the original one of LDM files.

The original layout numbers what lies between two skip connections (`input_blocks.4.1`);
diffusers counts levels and kinds (`down_blocks.1.attentions.0`). Which number is which follows
from the levels, their depth and where attention is: all of it in the UNet's config.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_OUTER = (
    ("conv_in", "input_blocks.0.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
)
_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
_Pair = tuple[str, str]


@dataclass(frozen=True)
class UNetNames:
    """A bijection between two spellings of dotted paths, of modules and of weights alike.

    Attributes:
        forward: Module prefix in diffusers' spelling → in the original one.
        backward: The other way round.
    """

    forward: Mapping[str, str]
    backward: Mapping[str, str]

    @classmethod
    def from_config(cls, unet_config: Mapping[str, Any]) -> "UNetNames":
        """Returns the names of the UNet that a diffusers config describes."""
        pairs = [*_OUTER, *_pair_down(unet_config), *_pair_middle(unet_config)]
        pairs += _pair_up(unet_config)
        return cls(dict(pairs), {original: ours for ours, original in pairs})

    def to_original(self, path: str) -> str:
        """Returns the original spelling of a diffusers path.

        Raises:
            KeyError: the UNet has no such module.
        """
        return _translate(self.forward, path)

    def from_original(self, path: str) -> str:
        """Returns diffusers' spelling of an original path.

        Raises:
            KeyError: the UNet has no such module.
        """
        return _translate(self.backward, path)


def _translate(table: Mapping[str, str], path: str) -> str:
    """Replaces the longest known prefix, at a dot; what follows is spelled alike on both sides."""
    prefix, rest = path, ""
    while prefix:
        if prefix in table:
            return table[prefix] + rest
        prefix, _, last = prefix.rpartition(".")
        rest = f".{last}{rest}"
    raise KeyError(path)


def _pair_down(config: Mapping[str, Any]) -> Iterator[_Pair]:
    number = 1
    depths = _count_layers(config)
    for level, kind in enumerate(config["down_block_types"]):
        block = f"down_blocks.{level}"
        for layer in range(depths[level]):
            yield from _pair_resnet(f"{block}.resnets.{layer}", f"input_blocks.{number}.0")
            if "Attn" in kind:
                yield f"{block}.attentions.{layer}", f"input_blocks.{number}.1"
            number += 1
        if level < len(depths) - 1:
            yield f"{block}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
            number += 1


def _pair_middle(config: Mapping[str, Any]) -> Iterator[_Pair]:
    kind = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    yield from _pair_resnet("mid_block.resnets.0", "middle_block.0")
    if "Attn" in str(kind):
        yield "mid_block.attentions.0", "middle_block.1"
    yield from _pair_resnet("mid_block.resnets.1", "middle_block.2")


def _pair_up(config: Mapping[str, Any]) -> Iterator[_Pair]:
    number = 0
    depths = _count_layers(config)[::-1]
    for level, kind in enumerate(config["up_block_types"]):
        block = f"up_blocks.{level}"
        has_attention = "Attn" in kind
        for layer in range(depths[level] + 1):
            yield from _pair_resnet(f"{block}.resnets.{layer}", f"output_blocks.{number}.0")
            if has_attention:
                yield f"{block}.attentions.{layer}", f"output_blocks.{number}.1"
            number += 1
        if level < len(depths) - 1:
            place = 2 if has_attention else 1
            yield f"{block}.upsamplers.0.conv", f"output_blocks.{number - 1}.{place}.conv"


def _pair_resnet(ours: str, original: str) -> Iterator[_Pair]:
    for our_part, original_part in _RESNET:
        yield f"{ours}.{our_part}", f"{original}.{original_part}"


def _count_layers(config: Mapping[str, Any]) -> list[int]:
    layers = config.get("layers_per_block", 2)
    return [layers] * len(config["down_block_types"]) if isinstance(layers, int) else list(layers)


SD_NAMES = UNetNames.from_config(
    {
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "layers_per_block": 2,
    }
)
SDXL_NAMES = UNetNames.from_config(
    {
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
        "layers_per_block": 2,
    }
)
