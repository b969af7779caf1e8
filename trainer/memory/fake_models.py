"""A base model of fake tensors: models of the real shape, on the device or offloaded."""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from trainer.config import BaseModelConfig
from trainer.dtypes import DTYPES
from trainer.memory.fake_accelerator import Device
from trainer.memory.fake_tensors import Meter
from trainer.models import BaseModelInfo, Family, Model, Parts, build_parts, make_family


class Placement:
    """Which models are on the device: replaces moving them in a simulation.

    Moving a model only counts its bytes. On a device that shares the main memory nothing is
    counted, because there an offloaded model takes the same memory.
    """

    def __init__(self, device: Device, meter: Meter) -> None:
        self._device, self._meter = device, meter
        self._present: dict[nn.Module, bool] = {}
        self._never_moved: dict[nn.Module, int] = {}  # bytes that wait in main memory for good
        self._filled = False

    def track(self, model: nn.Module) -> None:
        """Replaces a model's method `to`."""
        self._present[model] = False

        def move(place: Any) -> nn.Module:
            self._move(model, torch.device(place) == self._device.place)
            return model

        model.to = move  # type: ignore[method-assign, assignment]

    def fill(self, parts: Parts, dtype: torch.dtype) -> None:
        """Gives the models fake tensors for weights.

        The VAE's are always fp32, as when it is loaded. Every weight is read before the first layer
        is quantized to 4 bits, and all of it happens in main memory.
        """
        for model in self._present:
            _fill(model, torch.float32 if model is parts.vae else dtype)
        _pack_linears(parts.unet)
        self._filled = True
        offloaded = {parts.unet: parts.blocks.offloaded, **parts.text_layers}
        for blocks in offloaded.values():
            for block in blocks:
                block.pack()
        if not self._device.shares_memory:
            for model, blocks in offloaded.items():
                self._never_moved[model] = sum(self._meter.round(each.size) for each in blocks)
            waiting = sum(self._never_moved.values())
            absent = [model for model, present in self._present.items() if not present]
            self._meter.add(-waiting - sum(map(self._measure, absent)))
            self._meter.restart()

    def _measure(self, model: nn.Module) -> int:
        return self._meter.measure(model) - self._never_moved.get(model, 0)

    def _move(self, model: nn.Module, present: bool) -> None:
        if present == self._present[model]:
            return
        self._present[model] = present
        if self._filled and not self._device.shares_memory:
            size = self._measure(model)
            self._meter.add(size if present else -size)


def make_fake_family(
    info: BaseModelInfo,
    config: BaseModelConfig,
    device: Device,
    meter: Meter,
    present: Collection[Model],
) -> tuple[Family, Parts]:
    """Returns a base model without content, and its models.

    Args:
        info: The base model; its tokenizers are read, its weights are not.
        config: Precision and quantization.
        device: The simulated device.
        meter: Counts the weights.
        present: The models that start on the device.

    Raises:
        ModelError: an extra is not installed.
    """
    parts, placement = build_parts(info), Placement(device, meter)
    for model in (parts.unet, parts.vae, *parts.text_encoders):
        placement.track(model)
    dtype = DTYPES[device.precision]
    if config.quantize == "nf4":
        _warm_up_bitsandbytes()
    family = make_family(info, config, parts, device.place, dtype, present)
    # Cache keys would be made of the weights' content.
    family.image_fingerprint = family.text_fingerprint = lambda: ""  # type: ignore[method-assign]
    with meter:
        placement.fill(parts, dtype)
    return family, parts


def _fill(model: nn.Module, dtype: torch.dtype) -> None:
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            # A weight in 8 bits is packed already.
            stored = dtype if weight.itemsize > 1 else weight.dtype
            fake = nn.Parameter(torch.empty(weight.shape, dtype=stored), requires_grad=False)
            module.register_parameter(name, fake)
        for name, buffer in module.named_buffers(recurse=False):
            fake_buffer = torch.empty(buffer.shape, dtype=buffer.dtype)
            module.register_buffer(name, fake_buffer, persistent=False)


def _pack_linears(unet: nn.Module) -> None:
    """Quantizes the layers that `quantize_linears` made, as moving them to a device would."""
    for layer in unet.modules():
        if type(layer).__name__ != "Linear4bit" or not isinstance(layer, nn.Linear):
            continue
        from bitsandbytes.functional import quantize_4bit

        packed, state = quantize_4bit(layer.weight.data, compress_statistics=True, quant_type="nf4")
        weight: Any = nn.Parameter(packed, requires_grad=False)
        weight.quant_state = state
        layer.weight = weight
        # On some CPUs layers are repacked during inference, which reads the content.
        vars(layer)["support_avx512bf16_for_cpu"] = False


def _warm_up_bitsandbytes() -> None:
    """Lets the library fill its tables with real numbers; it keeps them for the whole process."""
    from bitsandbytes.functional import quantize_4bit

    quantize_4bit(torch.zeros(64), compress_statistics=True, quant_type="nf4")
