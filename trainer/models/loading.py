"""From files to frozen models: every tensor is accounted for before the first one is read.

The models are built without memory for weights, and each weight is read, converted and put into
place before the next: the peak is the models' size in their final format plus one tensor.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.models.block_offload import OffloadedBlock
from trainer.models.blocks import UNetBlocks
from trainer.models.check import BaseModelInfo
from trainer.models.errors import ModelError
from trainer.models.layouts import Shape
from trainer.models.parts import Part
from trainer.models.shipped import build_tokenizer
from trainer.models.weights import Stored, locate_tensors, read_tensors, refuse_extras


@dataclass
class Parts:
    """The models of a base model, frozen, with their tokenizers."""

    unet: Any
    blocks: UNetBlocks
    vae: Any
    text_encoders: list[Any]
    tokenizers: list[Any]
    # By the text encoder, its layers that wait in main memory.
    text_layers: dict[nn.Module, list[OffloadedBlock]] = field(default_factory=dict)


def load_parts(info: BaseModelInfo, device: torch.device, dtype: torch.dtype) -> Parts:
    """Returns the models of a base model.

    Args:
        info: Result of `check_base_model`.
        device: Where the weights go.
        dtype: Their number format. The VAE's is always fp32: SDXL's overflows in fp16.

    Raises:
        ModelError: a tensor is missing, or one too many, or of another shape.
    """
    models = {name: _build_model(info, name, part) for name, part in info.parts.items()}
    plans = _locate_all(info, {name: _list_shapes(model) for name, model in models.items()})
    for name, model in models.items():
        form = torch.float32 if name == "vae" else dtype
        _fill(model, plans[name], device, form)
        model.requires_grad_(requires_grad=False).eval()
    return _gather(info, models)


def check_parts(info: BaseModelInfo) -> None:
    """Refuses what `load_parts` would refuse about the tensors, from the headers alone.

    Raises:
        ModelError: a tensor is missing, or one too many, or of another shape.
    """
    shapes = {}
    for name, part in info.parts.items():
        try:
            shapes[name] = _read_shapes(name, json.dumps(part.config, sort_keys=True))
        except Exception:  # noqa: BLE001 - built once more
            # With the message of what is wrong with the config.
            shapes[name] = _list_shapes(_build_model(info, name, part))
    _locate_all(info, shapes)


def _locate_all(
    info: BaseModelInfo, shapes: Mapping[str, Mapping[str, Shape]]
) -> dict[str, dict[str, Stored]]:
    plans = {name: locate_tensors(info.parts[name], each, info) for name, each in shapes.items()}
    refuse_extras(info, plans)
    return plans


@cache
def _read_shapes(name: str, config: str) -> dict[str, Shape]:
    """Returns the shapes of a part's tensors; building a model takes a second."""
    return _list_shapes(build_model(name, json.loads(config)))


def build_parts(info: BaseModelInfo) -> Parts:
    """Returns the models on the meta device, without their weights: no tensor is read.

    Raises:
        ModelError: a config or a tokenizer is damaged.
    """
    models = {name: _build_model(info, name, part) for name, part in info.parts.items()}
    for model in models.values():
        model.requires_grad_(requires_grad=False).eval()
    return _gather(info, models)


def build_model(name: str, config: dict[str, Any]) -> nn.Module:
    """Returns a part's model on the meta device: shapes without memory.

    Args:
        name: "unet", "vae", "text_encoder" or "text_encoder_2".
        config: Its config, as diffusers or transformers spells it.
    """
    # diffusers and transformers cost seconds to import: only who loads a model pays.
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        if name == "unet":
            return UNet2DConditionModel.from_config(config)
        if name == "vae":
            return AutoencoderKL.from_config(config)
        model = CLIPTextModel if name == "text_encoder" else CLIPTextModelWithProjection
        return model(CLIPTextConfig.from_dict(config))


def _build_model(info: BaseModelInfo, name: str, part: Part) -> nn.Module:
    try:
        return build_model(name, part.config)
    except Exception as error:
        msg = (
            f"The base model {info.path} cannot be loaded: the config of its {name} is not usable "
            f"({error}). Download it again."
        )
        raise ModelError(msg) from error


def _gather(info: BaseModelInfo, models: dict[str, nn.Module]) -> Parts:
    return Parts(
        unet=models["unet"],
        blocks=UNetBlocks(models["unet"]),
        vae=models["vae"],
        text_encoders=[model for name, model in models.items() if name.startswith("text")],
        tokenizers=[_load_tokenizer(info, tokenizer) for tokenizer in info.tokenizers],
    )


def _list_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _fill(
    model: nn.Module, plan: dict[str, Stored], device: torch.device, dtype: torch.dtype
) -> None:
    """Puts weights into a model that was built on the meta device."""
    for name, tensor in read_tensors(plan):
        owner, _, leaf = name.rpartition(".")
        weight = nn.Parameter(tensor.to(device, dtype), requires_grad=False)
        model.get_submodule(owner).register_parameter(leaf, weight)
    for module, leaf, buffer in _list_empty_buffers(model):
        # Only CLIP's position ids are neither stored nor a weight.
        numbers = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
        module.register_buffer(leaf, numbers, persistent=False)


def _list_empty_buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in model.modules():
        for leaf, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                if leaf != "position_ids":
                    msg = f"{type(module).__name__} has a buffer {leaf} that files do not hold."
                    raise ModelError(msg)
                yield module, leaf, buffer


def _load_tokenizer(info: BaseModelInfo, tokenizer: Path | str) -> Any:
    """Returns a folder's tokenizer, or CLIP's own with the padding that is named."""
    from transformers import CLIPTokenizer

    if isinstance(tokenizer, str):
        return build_tokenizer(tokenizer)
    try:
        return CLIPTokenizer.from_pretrained(tokenizer)
    except Exception as error:
        msg = (
            f"The base model {info.path} cannot be loaded: its {tokenizer.name} is damaged "
            f"({error}). Download it again."
        )
        raise ModelError(msg) from error
