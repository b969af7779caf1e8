"""From a config to a loaded base model."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from trainer.config import BaseModelConfig
from trainer.formats.families import FAMILIES, SD2, SD15, SDXL
from trainer.models.attention import ATTENTION
from trainer.models.blocks import offload_text_layers
from trainer.models.check import BaseModelInfo, check_base_model
from trainer.models.errors import ModelError
from trainer.models.family import EVERY_MODEL, Family, Model
from trainer.models.loading import Parts, load_parts
from trainer.models.notes import list_notes
from trainer.models.prompts import TextSettings
from trainer.models.quantize import quantize_unet
from trainer.models.sd import StableDiffusion
from trainer.models.sdxl import StableDiffusionXL

# The class of each family's models.
_CLASSES: dict[str, type[StableDiffusion]] = {
    SD15.name: StableDiffusion,
    SD2.name: StableDiffusion,
    SDXL.name: StableDiffusionXL,
}


def check_config(config: BaseModelConfig) -> BaseModelInfo:
    """Returns what a config's base model is, from its small files or its header alone.

    Raises:
        ModelError: it is missing, damaged or none that can be trained, or the config asks for what
            it cannot do.
    """
    vae = Path(config.vae) if config.vae else None
    info = check_base_model(Path(config.path), config.family, config.prediction, vae)
    info = replace(info, notes=list_notes(info))
    info = _set_zero_snr(info, config)
    if info.prediction == "flow" and config.flow_shift:
        info = replace(info, flow_shift=config.flow_shift)
    return info


def _set_zero_snr(info: BaseModelInfo, config: BaseModelConfig) -> BaseModelInfo:
    """Returns the base model with the end of its noise schedule."""
    if config.zero_snr == "on" and info.prediction == "epsilon":
        msg = (
            "base_model.zero_snr is on, but the base model predicts the noise, which is undefined "
            "about an image of pure noise. Set it to off, or base_model.prediction to "
            "v_prediction if the model was trained so."
        )
        raise ModelError(msg)
    if config.zero_snr == "on" and info.prediction == "flow":
        msg = (
            "base_model.zero_snr is on, but the base model is trained as rectified flow, which "
            "ends in pure noise without it. Set it to auto or off."
        )
        raise ModelError(msg)
    if config.zero_snr != "auto":
        return replace(info, zero_snr=config.zero_snr == "on")
    answered = config.prediction == "v_prediction" and info.recorded != "v_prediction"
    if info.zero_snr or not answered or not FAMILIES[info.family].v_ends_in_noise:
        return info
    note = (
        "The noise schedule ends in pure noise (zero terminal SNR), because models of "
        f"{FAMILIES[info.family].title} that predict v are usually trained so and the file does "
        "not state it. If this one was not, set base_model.zero_snr to off."
    )
    return replace(info, zero_snr=True, notes=(*info.notes, note))


def load_family(
    config: BaseModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    present: Collection[Model] = EVERY_MODEL,
) -> Family:
    """Returns a config's base model, frozen.

    Args:
        config: Which one, and how it is held.
        device: Where it works.
        dtype: Number format of the frozen weights.
        present: The models that are on the device from the start; see `Family.keep_on_device`.

    Raises:
        ModelError: as `check_config`, or a tensor is missing, or an extra is not installed.
    """
    info = check_config(config)
    parts = load_parts(info, torch.device("cpu"), dtype)
    ATTENTION[config.attention](parts.unet, device)
    return make_family(info, config, parts, device, dtype, present)


def make_family(
    info: BaseModelInfo,
    config: BaseModelConfig,
    parts: Parts,
    device: torch.device,
    dtype: torch.dtype,
    present: Collection[Model] = EVERY_MODEL,
) -> Family:
    """Returns the family around loaded parts; the arguments are those of `load_family`.

    Raises:
        ModelError: an extra is not installed.
    """
    quantize_unet(parts.unet, config.quantize, dtype, device)
    parts.blocks.offload(config.offload_fraction, device)
    parts.text_layers = offload_text_layers(parts.text_encoders, config.offload_fraction, device)
    text = TextSettings(config.clip_skip, config.max_windows)
    family = _CLASSES[info.family](info, parts, device, dtype, text)
    family.keep_on_device(present)
    return family
