"""Every layer of the public architectures that files change, with the shape of its weight.

So that a file can be judged without a base model. The numbers follow from those of a `FamilySpec`:
channels and attention per level, the width of the text, and the sizes of the text encoders.
"""

from collections.abc import Iterator
from functools import cache

from trainer.formats.families import FAMILIES, TextEncoderSpec, UNetSpec, name_encoder

Shape = tuple[int, ...]

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
    spec = FAMILIES[family]
    unet = {f"unet.{path}": shape for path, shape in _list_unet(spec.unet)}
    text = {
        f"{name_encoder(index)}.text_model.encoder.layers.{path}": shape
        for index, encoder in enumerate(spec.text_encoders)
        for path, shape in _list_text(encoder)
    }
    return unet | text


@cache
def list_norms(family: str) -> frozenset[str]:
    """Returns the names of all normalisation layers, which some programs train."""
    unet = FAMILIES[family].unet
    norms = {"unet.conv_norm_out"}
    for layer in list_layers(family):
        block, _, last = layer.rpartition(".")
        if last in {"conv1", "conv2"}:
            norms.add(f"{block}.norm{last[-1]}")
        elif last == "proj_in":
            norms.add(f"{block}.norm")
            depth = sum(f"{block}.transformer_blocks.{n}.ff.net.2" in list_layers(family)
                        for n in range(max(unet.depths)))  # fmt: skip
            norms |= {
                f"{block}.transformer_blocks.{n}.norm{k}" for n in range(depth) for k in (1, 2, 3)
            }
        elif last == "fc1":
            layer_block = block.removesuffix(".mlp")
            norms |= {f"{layer_block}.layer_norm1", f"{layer_block}.layer_norm2"}
            norms.add(f"{layer.partition('.')[0]}.text_model.final_layer_norm")
    return frozenset(norms)


@cache
def list_known_layers(family: str) -> frozenset[str]:
    """Returns every layer of a family that a file can change, also those that few programs read."""
    outer = (each for each in OUTER_LAYERS if _has_outer(family, each))
    return frozenset([*list_layers(family), *outer, *list_norms(family)])


def _has_outer(family: str, layer: str) -> bool:
    spec = FAMILIES[family]
    return spec.has_two_encoders or not layer.startswith(("unet.add_embedding", "text_encoder_2"))


def _list_unet(unet: UNetSpec) -> Iterator[tuple[str, Shape]]:
    channels, levels = unet.channels, len(unet.channels)
    before = channels[0]
    for level, size in enumerate(channels):
        block = f"down_blocks.{level}"
        for place in range(2):
            yield from _list_resnet(unet, f"{block}.resnets.{place}", before, size)
            yield from _list_transformer(unet, f"{block}.attentions.{place}", size, level)
            before = size
        if level < levels - 1:
            yield f"{block}.downsamplers.0.conv", (size, size, 3, 3)
    yield from _list_resnet(unet, "mid_block.resnets.0", before, before)
    yield from _list_transformer(unet, "mid_block.attentions.0", before, None)
    yield from _list_resnet(unet, "mid_block.resnets.1", before, before)
    for index in range(levels):
        level = levels - 1 - index
        block, size = f"up_blocks.{index}", channels[level]
        # What comes over from the way down: twice this level's own, once the level's above.
        skips = (size, size, channels[max(level - 1, 0)])
        for place, skip in enumerate(skips):
            yield from _list_resnet(unet, f"{block}.resnets.{place}", before + skip, size)
            yield from _list_transformer(unet, f"{block}.attentions.{place}", size, level)
            before = size
        if index < levels - 1:
            yield f"{block}.upsamplers.0.conv", (size, size, 3, 3)


def _list_resnet(
    unet: UNetSpec, path: str, inputs: int, outputs: int
) -> Iterator[tuple[str, Shape]]:
    yield f"{path}.conv1", (outputs, inputs, 3, 3)
    yield f"{path}.time_emb_proj", (outputs, 4 * unet.channels[0])
    yield f"{path}.conv2", (outputs, outputs, 3, 3)
    if inputs != outputs:
        yield f"{path}.conv_shortcut", (outputs, inputs, 1, 1)


def _list_transformer(
    unet: UNetSpec, path: str, size: int, level: int | None
) -> Iterator[tuple[str, Shape]]:
    depth = max(unet.depths) if level is None else unet.depths[level]
    if depth == 0:
        return
    square = (size, size)
    projection = square if unet.linear_projection else (*square, 1, 1)
    yield f"{path}.proj_in", projection
    for number in range(depth):
        block = f"{path}.transformer_blocks.{number}"
        for attention, width in (("attn1", size), ("attn2", unet.text_width)):
            yield f"{block}.{attention}.to_q", square
            yield f"{block}.{attention}.to_k", (size, width)
            yield f"{block}.{attention}.to_v", (size, width)
            yield f"{block}.{attention}.to_out.0", square
        yield f"{block}.ff.net.0.proj", (8 * size, size)
        yield f"{block}.ff.net.2", (size, 4 * size)
    yield f"{path}.proj_out", projection


def _list_text(encoder: TextEncoderSpec) -> Iterator[tuple[str, Shape]]:
    width, inner = encoder.width, encoder.inner_width
    for layer in range(encoder.layers):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{layer}.self_attn.{name}", (width, width)
        yield f"{layer}.mlp.fc1", (inner, width)
        yield f"{layer}.mlp.fc2", (width, inner)
