"""A base model as a folder in the diffusers layout: are all its parts there?"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.formats.families import list_titles
from trainer.formats.header import FormatError, TensorFile, read_header
from trainer.models.errors import ModelError
from trainer.models.parts import Part

_AGAIN = "Download the base model again"
# Part → the stem of its weight files; the order is that of `BaseModelInfo.parts`.
_WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
_TRAINABLE = (
    {"text_encoder": "CLIPTextModel"},
    {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"},
)


@dataclass(frozen=True)
class ModelFolder:
    """What lies in a folder.

    Attributes:
        parts: The models, by the name of their folders.
        tokenizers: Folders, in the order of the text encoders.
        scheduler: The scheduler's config.
    """

    parts: dict[str, Part]
    tokenizers: tuple[Path, ...]
    scheduler: dict[str, Any]


def read_folder(path: Path) -> ModelFolder:
    """Returns the parts of a base model.

    Raises:
        ModelError: a part is missing or damaged, or the folder holds another kind of model.
    """
    encoders = _list_encoders(path, read_json(path / "model_index.json"))
    for part in ("unet", "vae", *encoders):
        _check_part(path, part, "config.json", f"{_WEIGHTS[part]}*.safetensors")
    tokenizers = [name.replace("text_encoder", "tokenizer") for name in encoders]
    for name in tokenizers:
        _check_part(path, name, "tokenizer_config.json", "tokenizer.json", "vocab.json")
    _check_part(path, "scheduler", "scheduler_config.json")
    unet = read_json(path / "unet" / "config.json")
    if unet.get("in_channels") != 4:
        msg = (
            f"The UNet of {path} takes {unet.get('in_channels')} channels (an inpainting or other "
            "special model). Train on the ordinary model of the same family instead."
        )
        raise ModelError(msg)
    parts = {part: _read_part(path, part) for part in ("unet", "vae", *encoders)}
    scheduler = read_json(path / "scheduler" / "scheduler_config.json")
    return ModelFolder(parts, tuple(path / name for name in tokenizers), scheduler)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a small file of a base model.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path.parent} lacks {path.name}, so it is not a base model in the diffusers layout."
        raise ModelError(msg) from None
    except (ValueError, RecursionError, OSError) as error:
        msg = f"{path} is damaged ({error}). {_AGAIN}."
        raise ModelError(msg) from None
    if not isinstance(data, dict):
        msg = f"{path} does not hold a JSON object. {_AGAIN}."
        raise ModelError(msg)
    return data


def find_weights(folder: Path, stem: str) -> tuple[TensorFile, ...]:
    """Returns the headers of a part's weight files, none where there are no weights.

    A plain file comes before one in fp16, a whole file before one in shards.

    Raises:
        FormatError: a file is damaged, or a shard is missing.
    """
    for variant in ("", ".fp16"):
        whole = folder / f"{stem}{variant}.safetensors"
        if whole.is_file():
            return (read_header(whole),)
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if index.is_file():
            return tuple(read_header(folder / name) for name in _list_shards(index))
    return ()


def _list_encoders(path: Path, index: dict[str, Any]) -> list[str]:
    """Returns the names of the text encoders, of a model that can be trained."""
    encoders = {
        name: entry[1]
        for name, entry in index.items()
        if name.startswith("text_encoder")
        and isinstance(entry, list)
        and len(entry) == 2
        and entry[1]
    }
    if encoders not in _TRAINABLE or "unet" not in index or "vae" not in index:
        msg = (
            f"{path} is a {index.get('_class_name')}, which is not trained here. "
            f"Choose an {list_titles()} model."
        )
        raise ModelError(msg)
    return list(encoders)


def _check_part(path: Path, part: str, config: str, *weights: str) -> None:
    folder = path / part
    remedy = f"{_AGAIN}, or copy the missing part into it."
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


def _read_part(path: Path, part: str) -> Part:
    try:
        files = find_weights(path / part, _WEIGHTS[part])
    except FormatError as error:
        msg = f"The base model {path} cannot be loaded: {part}/{error}"
        raise ModelError(msg) from None
    if not files:
        msg = f"The base model {path} lacks {part}/{_WEIGHTS[part]}.safetensors. {_AGAIN}."
        raise ModelError(msg)
    return Part(read_json(path / part / "config.json"), files)


def _list_shards(index: Path) -> list[str]:
    """Returns the file names in a sharded file's index."""
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(table.values()))
        inside = all(Path(name).name == name for name in names)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        names, inside = [], False
    if not names or not inside:
        msg = f"{index.name} is damaged: it does not list the files of the weights. {_AGAIN}."
        raise FormatError(msg)
    return names
