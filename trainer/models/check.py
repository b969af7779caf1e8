"""Looking at a base model's folder before anything of it is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.models.errors import ModelError

_PARTS = {
    "unet": ("config.json", ("diffusion_pytorch_model*.safetensors",)),
    "vae": ("config.json", ("diffusion_pytorch_model*.safetensors",)),
    "text_encoder": ("config.json", ("model*.safetensors",)),
    "tokenizer": ("tokenizer_config.json", ("tokenizer.json", "vocab.json")),
    "scheduler": ("scheduler_config.json", ()),
}


@dataclass(frozen=True)
class BaseModelInfo:
    """What the small files of a base model say about it."""

    path: Path
    family: str
    prediction: str
    unet: dict[str, Any]
    scheduler: dict[str, Any]


def check_base_model(path: Path, family: str = "auto", prediction: str = "auto") -> BaseModelInfo:
    """Returns what a base model in the diffusers layout is.

    Args:
        path: Its folder.
        family: "auto", or the family to take it for.
        prediction: "auto", or what it predicts.

    Raises:
        ModelError: the folder or a part of it is missing, or it is no model we can train.
    """
    if not str(path) or str(path) == ".":
        msg = "No base model is set. Give its folder with base_model.path."
        raise ModelError(msg)
    if not path.exists():
        msg = f"There is no base model at {path}. Give the folder that holds model_index.json."
        raise ModelError(msg)
    if path.is_file():
        msg = (
            f"{path.name} is a single file. This version reads base models as a folder in the "
            "diffusers layout (with model_index.json); convert it with diffusers first."
        )
        raise ModelError(msg)
    index = _read_json(path / "model_index.json")
    if "text_encoder_2" in index or "transformer" in index:
        msg = (
            f"{path} is a {index.get('_class_name')}; this version trains SD 1.x and SD 2.x models."
        )
        raise ModelError(msg)
    for part, (config, weights) in _PARTS.items():
        _check_part(path, part, config, weights)
    unet = _read_json(path / "unet" / "config.json")
    scheduler = _read_json(path / "scheduler" / "scheduler_config.json")
    if unet.get("in_channels") != 4:
        msg = (
            f"The UNet of {path} takes {unet.get('in_channels')} channels (an inpainting or other "
            "special model). Train on the ordinary model of the same family instead."
        )
        raise ModelError(msg)
    if family == "auto":
        family = "sd2" if unet.get("cross_attention_dim") == 1024 else "sd15"
    if prediction == "auto":
        prediction = str(scheduler.get("prediction_type", "epsilon"))
    if prediction not in {"epsilon", "v_prediction"}:
        msg = (
            f"{path} predicts {prediction!r}; this version trains epsilon and v_prediction models."
        )
        raise ModelError(msg)
    return BaseModelInfo(path, family, prediction, unet, scheduler)


def _check_part(path: Path, part: str, config: str, weights: tuple[str, ...]) -> None:
    folder = path / part
    remedy = "Download the base model again, or copy the missing part into it."
    if not folder.is_dir():
        msg = f"The base model {path} lacks its folder {part}/. {remedy}"
        raise ModelError(msg)
    if not (folder / config).is_file():
        msg = f"The base model {path} lacks {part}/{config}. {remedy}"
        raise ModelError(msg)
    if weights and not any(any(folder.glob(pattern)) for pattern in weights):
        pickled = [*folder.glob("*.bin"), *folder.glob("*.ckpt"), *folder.glob("*.pt")]
        if pickled:
            msg = (
                f"{part}/{pickled[0].name} in {path} is a pickle, which can run code when it is "
                "read. Convert the base model to safetensors first."
            )
        else:
            msg = f"The base model {path} lacks {part}/{weights[0]}. {remedy}"
        raise ModelError(msg)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} lacks {path.name}, so it is not a base model in the diffusers layout."
        raise ModelError(msg) from None
    except (ValueError, UnicodeDecodeError) as error:
        msg = f"{path} is damaged ({error}). Download the base model again."
        raise ModelError(msg) from None
    if not isinstance(data, dict):
        msg = f"{path} does not hold a JSON object. Download the base model again."
        raise ModelError(msg)
    return data
