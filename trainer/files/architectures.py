"""Every layer of the public architectures that files change, with the shape of its weight.

So that a file can be judged without a base model. The numbers follow from a few: channels and
attention per level, the width of the text, and the sizes of the text encoders.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES, UNetNames

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """The numbers of one family.

    Attributes:
        channels: Of each level of the UNet, the widest resolution first.
        depths: Transformer blocks at each place of a level; 0 where it has no attention. The
            middle is as deep as the deepest level.
        text_width: Of what cross attention reads.
        linear_projection: Whether proj_in and proj_out are linear layers, not convolutions.
        text_encoders: Width, inner width and number of layers of each.
        names: The original names of the UNet's blocks.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    text_width: int
    linear_projection: bool
    text_encoders: tuple[tuple[int, int, int], ...]
    names: UNetNames


ARCHITECTURES = {
    "sd15": Architecture(
        (320, 640, 1280, 1280), (1, 1, 1, 0), 768, False, ((768, 3072, 12),), SD_NAMES
    ),
    "sd2": Architecture(
        (320, 640, 1280, 1280), (1, 1, 1, 0), 1024, True, ((1024, 4096, 23),), SD_NAMES
    ),
    "sdxl": Architecture(
        (320, 640, 1280), (0, 2, 10), 2048, True, ((768, 3072, 12), (1280, 5120, 32)), SDXL_NAMES
    ),
}

# Layers that some programs train and not all read.
OUTER_LAYERS = (
    "unet.conv_in",
    "unet.conv_out",
    "unet.time_embedding.linear_1",
    "unet.time_embedding.linear_2",
    "unet.add_embedding.linear_1",
    "unet.add_embedding.linear_2",
    "text_encoder_2.text_projection",
)


@cache
def list_layers(family: str) -> dict[str, Shape]:
    """Returns the shape of every layer that kohya's trainer can adapt: 350, 416 or 1052 of them."""
    made = ARCHITECTURES[family]
    unet = {f"unet.{path}": shape for path, shape in _list_unet(made)}
    text = {
        f"text_encoder{'_2' if index else ''}.text_model.encoder.layers.{path}": shape
        for index, sizes in enumerate(made.text_encoders)
        for path, shape in _list_text(*sizes)
    }
    return unet | text


def _list_unet(made: Architecture) -> Iterator[tuple[str, Shape]]:
    channels, levels = made.channels, len(made.channels)
    before = channels[0]
    for level, size in enumerate(channels):
        block = f"down_blocks.{level}"
        for place in range(2):
            yield from _list_resnet(made, f"{block}.resnets.{place}", before, size)
            yield from _list_transformer(made, f"{block}.attentions.{place}", size, level)
            before = size
        if level < levels - 1:
            yield f"{block}.downsamplers.0.conv", (size, size, 3, 3)
    yield from _list_resnet(made, "mid_block.resnets.0", before, before)
    yield from _list_transformer(made, "mid_block.attentions.0", before, None)
    yield from _list_resnet(made, "mid_block.resnets.1", before, before)
    for index in range(levels):
        level = levels - 1 - index
        block, size = f"up_blocks.{index}", channels[level]
        # What comes over from the way down: twice this level's own, once the level's above.
        skips = (size, size, channels[max(level - 1, 0)])
        for place, skip in enumerate(skips):
            yield from _list_resnet(made, f"{block}.resnets.{place}", before + skip, size)
            yield from _list_transformer(made, f"{block}.attentions.{place}", size, level)
            before = size
        if index < levels - 1:
            yield f"{block}.upsamplers.0.conv", (size, size, 3, 3)


def _list_resnet(
    made: Architecture, path: str, inputs: int, outputs: int
) -> Iterator[tuple[str, Shape]]:
    yield f"{path}.conv1", (outputs, inputs, 3, 3)
    yield f"{path}.time_emb_proj", (outputs, 4 * made.channels[0])
    yield f"{path}.conv2", (outputs, outputs, 3, 3)
    if inputs != outputs:
        yield f"{path}.conv_shortcut", (outputs, inputs, 1, 1)


def _list_transformer(
    made: Architecture, path: str, size: int, level: int | None
) -> Iterator[tuple[str, Shape]]:
    depth = max(made.depths) if level is None else made.depths[level]
    if depth == 0:
        return
    square = (size, size)
    projection = square if made.linear_projection else (*square, 1, 1)
    yield f"{path}.proj_in", projection
    for number in range(depth):
        block = f"{path}.transformer_blocks.{number}"
        for attention, width in (("attn1", size), ("attn2", made.text_width)):
            yield f"{block}.{attention}.to_q", square
            yield f"{block}.{attention}.to_k", (size, width)
            yield f"{block}.{attention}.to_v", (size, width)
            yield f"{block}.{attention}.to_out.0", square
        yield f"{block}.ff.net.0.proj", (8 * size, size)
        yield f"{block}.ff.net.2", (size, 4 * size)
    yield f"{path}.proj_out", projection


def _list_text(width: int, inner: int, count: int) -> Iterator[tuple[str, Shape]]:
    for layer in range(count):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{layer}.self_attn.{name}", (width, width)
        yield f"{layer}.mlp.fc1", (inner, width)
        yield f"{layer}.mlp.fc2", (width, inner)
