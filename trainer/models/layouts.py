"""One table of names: where each tensor of our models lies in a file, and in which form.

Our models are diffusers' and transformers' modules. For every naming that files use, a function
lists where a module's tensors are stored, as one `Source` per tensor. The same rows serve both
directions: reading a file, and writing one in its layout.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.formats.unet_names import UNetNames

Form = Literal["plain", "convolution", "transposed", "third"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Where a tensor is stored.

    Attributes:
        names: Its name in the file, then other spellings that are read too.
        form: "plain"; "convolution", a matrix stored as a 1×1 convolution; "transposed"; "third",
            one of three tensors that are stored as one, query above key above value.
        third: Which third, 0 to 2.
    """

    names: tuple[str, ...]
    form: Form = "plain"
    third: int = 0

    def stored_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Returns the shapes it may have in the file: first the one that is written."""
        if self.form == "convolution":
            return (*shape, 1, 1), (*shape, 1), shape
        if self.form == "transposed":
            return (shape[::-1],)
        if self.form == "third":
            return ((3 * shape[0], *shape[1:]),)
        return (shape,)


Sources = dict[str, Source]


def name_like_diffusers(targets: Iterable[str], config: Mapping[str, Any]) -> Sources:
    """Names the tensors as diffusers and transformers do, now and in older versions."""
    del config
    return {target: Source(tuple(_respell(target))) for target in targets}


def name_clip(targets: Iterable[str], config: Mapping[str, Any]) -> Sources:
    """Names a text encoder's tensors as CLIP's files do, with or without their first level."""
    del config
    bare = {target: target.removeprefix("text_model.") for target in targets}
    return {target: Source((f"text_model.{name}", name)) for target, name in bare.items()}


def name_unet(targets: Iterable[str], config: Mapping[str, Any]) -> Sources:
    """Names a UNet's tensors as the original layout does."""
    names = UNetNames.from_config(config)
    return {target: Source((names.to_original(target),)) for target in targets}


def name_vae(targets: Iterable[str], config: Mapping[str, Any]) -> Sources:
    """Names a VAE's tensors as the original layout does."""
    last = len(config["block_out_channels"]) - 1
    sources = {}
    for target in targets:
        # The decoder's levels are counted from the other end.
        name = re.sub(
            r"up_blocks\.(\d+)", lambda match: f"up_blocks.{last - int(match[1])}", target
        )
        for pattern, original in _VAE_PARTS:
            name = re.sub(pattern, original, name)
        is_matrix = "attn_1" in name and ".norm." not in name and name.endswith(".weight")
        sources[target] = Source((name,), "convolution" if is_matrix else "plain")
    return sources


def name_open_clip(targets: Iterable[str], config: Mapping[str, Any]) -> Sources:
    """Names a text encoder's tensors as OpenCLIP does."""
    del config
    return {target: _find_in_open_clip(target) for target in targets}


NAMINGS: dict[str, Callable[[Iterable[str], Mapping[str, Any]], Sources]] = {
    "diffusers": name_like_diffusers,
    "clip": name_clip,
    "unet": name_unet,
    "vae": name_vae,
    "open_clip": name_open_clip,
}


def join_tensors(sources: Sources, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yields what a file in this layout stores for a module's tensors: name and tensor.

    Args:
        sources: Where each tensor is stored.
        tensors: The module's tensors, by the same names.
    """
    thirds: dict[str, list[str]] = {}
    for target, source in sources.items():
        thirds.setdefault(source.names[0], []).append(target)
    for name, targets in thirds.items():
        source, tensor = sources[targets[0]], tensors[targets[0]]
        if source.form == "third":
            ordered = sorted(targets, key=lambda target: sources[target].third)
            yield name, torch.cat([tensors[target] for target in ordered])
        elif source.form == "transposed":
            yield name, tensor.T.contiguous()
        else:
            yield name, tensor.reshape(source.stored_shapes(tuple(tensor.shape))[0])


def _respell(target: str) -> Iterator[str]:
    """Yields the spellings of a tensor's name in diffusers folders, today's first."""
    yield target
    if target.startswith("text_model."):  # transformers wrote this level, then dropped it
        yield target.removeprefix("text_model.")
    elif target.startswith(("embeddings.", "encoder.layers.", "final_layer_norm.")):
        yield f"text_model.{target}"
    for ours, older in _OLD_ATTENTION:
        if f".attentions.0.{ours}." in target:
            yield target.replace(ours, older)


# diffusers' first name of the VAE's attention.
_OLD_ATTENTION = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))

_VAE_PARTS = (
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])\b", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"(down|up)_blocks\.(\d+)\.resnets\.(\d+)", r"\1.\2.block.\3"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", r"up.\1.upsample"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
)

_OPEN_CLIP_PARTS = (
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("encoder.layers", "transformer.resblocks"),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("final_layer_norm", "ln_final"),
)


def _find_in_open_clip(target: str) -> Source:
    if target == "text_projection.weight":
        return Source(("text_projection",), "transposed")
    name = target.removeprefix("text_model.")
    for ours, original in _OPEN_CLIP_PARTS:
        name = name.replace(ours, original)
    match = re.fullmatch(r"(.+)\.self_attn\.([qkv])_proj\.(weight|bias)", name)
    if match:
        return Source((f"{match[1]}.attn.in_proj_{match[3]}",), "third", "qkv".index(match[2]))
    return Source((name,))
