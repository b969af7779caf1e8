"""LoRA files in the kohya format, which A1111, Forge, ComfyUI, InvokeAI and diffusers read.

Per layer three tensors: `NAME.lora_down.weight` [rank, in(, k, k)], `NAME.lora_up.weight`
[out, rank(, 1, 1)] and `NAME.alpha`, a scalar; readers apply alpha / rank.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from datasets_tools.files import write_atomically
from trainer.export.errors import ExportError
from trainer.export.names import to_kohya_name

Factors = tuple[Tensor, Tensor, float]
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_MAX_HEADER_BYTES = 16 << 20
_PARTS = ("lora_down.weight", "lora_up.weight", "alpha")


@dataclass(frozen=True)
class LoRAFile:
    """A LoRA file in memory.

    Attributes:
        factors: (down, up, scale) in fp32, per layer name of the base model.
        metadata: The header.
    """

    factors: dict[str, Factors]
    metadata: dict[str, str]


def write_lora(
    path: Path, factors: Mapping[str, Factors], metadata: Mapping[str, str], precision: str
) -> str:
    """Writes a LoRA file aside and renames it; returns its hash, sha256 over the tensors' bytes.

    Every layer of one model gets the same alpha and what differs is folded into `lora_up`, in fp32
    before the cast: diffusers mixes up alphas that differ between layers of one model.

    Args:
        path: Where to.
        factors: (down, up, scale) per layer name.
        metadata: The header, without the hashes, which are added here.
        precision: "fp16", "bf16" or "fp32".

    Raises:
        ExportError: a weight is not finite or does not fit the format, or the disk is full.
    """
    tensors = _make_tensors(factors, DTYPES[precision])
    index, body = _split(save(tensors))
    digest = hashlib.sha256(body).hexdigest()
    header = {**metadata, "sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}
    try:
        write_atomically(path, _join(index, header, body))
    except OSError as error:
        msg = (
            f"{path.name} could not be written: {error.strerror or error}. Free some space and "
            "export again."
        )
        raise ExportError(msg) from error
    return digest


def read_lora(path: Path, layers: Iterable[str]) -> LoRAFile:
    """Reads a LoRA file for a base model.

    Args:
        path: A .safetensors file in the kohya format.
        layers: Names of the base model's layers that can carry an adapter.

    Raises:
        ExportError: the file is missing, damaged, of another format or for another model.
    """
    check_header(path)
    names = {to_kohya_name(layer): layer for layer in layers}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        msg = f"{path.name} is damaged: {error}. Copy or download it again."
        raise ExportError(msg) from error
    modules: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, part = key.partition(".")
        modules.setdefault(name, {})[part] = tensor
    unknown = [name for name in modules if name not in names]
    if unknown:
        msg = (
            f"{path.name} does not fit this base model: {len(unknown)} of {len(modules)} layers "
            f"are unknown, first {unknown[0]}. It was made for another family or is not in the "
            "kohya format."
        )
        raise ExportError(msg)
    return LoRAFile(
        {names[name]: _to_factors(path, name, parts) for name, parts in modules.items()}, metadata
    )


def check_header(path: Path) -> None:
    """Checks a safetensors header's length and JSON before anything is allocated for it.

    Raises:
        ExportError: the file is missing, shorter than its header says, or the header is no JSON.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                msg = (
                    f"{path.name} is not a safetensors file: its header claims {length} bytes of "
                    f"a file of {size}."
                )
                raise ExportError(msg)
            json.loads(file.read(length))
    except FileNotFoundError:
        msg = f"There is no LoRA file at {path}."
        raise ExportError(msg) from None
    except (ValueError, RecursionError):
        msg = f"{path.name} is damaged: its header is not JSON. Copy or download it again."
        raise ExportError(msg) from None


def _make_tensors(factors: Mapping[str, Factors], dtype: torch.dtype) -> dict[str, Tensor]:
    alphas = _choose_alphas(factors)
    tensors = {}
    for layer, (down, up, scale) in factors.items():
        alpha = alphas[layer.partition(".")[0]]
        folded = up.float() * (scale * down.shape[0] / alpha)
        name = to_kohya_name(layer)
        for part, value in (("lora_down.weight", down.float()), ("lora_up.weight", folded)):
            cast = value.to(dtype).contiguous()
            if not torch.isfinite(cast).all():
                msg = f"The weights of {layer} are not finite" + (
                    " in fp16; export in bf16 or fp32."
                    if torch.isfinite(value).all()
                    else ": the training diverged."
                )
                raise ExportError(msg)
            tensors[f"{name}.{part}"] = cast
        tensors[f"{name}.alpha"] = torch.tensor(alpha, dtype=torch.float32)
    return tensors


def _choose_alphas(factors: Mapping[str, Factors]) -> dict[str, float]:
    """Returns one alpha per model: that of its first layer."""
    alphas: dict[str, float] = {}
    for layer, (down, _, scale) in factors.items():
        alphas.setdefault(layer.partition(".")[0], scale * down.shape[0])
    return alphas


def _to_factors(path: Path, name: str, parts: Mapping[str, Tensor]) -> Factors:
    if set(parts) - set(_PARTS) or not {"lora_down.weight", "lora_up.weight"} <= set(parts):
        msg = f"{path.name} is not a plain LoRA: {name} holds {', '.join(sorted(parts))}."
        raise ExportError(msg)
    down, up = parts["lora_down.weight"].float(), parts["lora_up.weight"].float()
    rank = down.shape[0]
    if up.shape[1] != rank:
        msg = f"{path.name} is damaged: {name} has ranks {rank} and {up.shape[1]}."
        raise ExportError(msg)
    alpha = float(parts["alpha"]) if "alpha" in parts else float(rank)
    return down, up, alpha / rank


def _split(serialised: bytes) -> tuple[dict[str, object], bytes]:
    """Returns the index of a safetensors file and the bytes of its tensors."""
    end = 8 + struct.unpack("<Q", serialised[:8])[0]
    index: dict[str, object] = json.loads(serialised[8:end])
    return index, serialised[end:]


def _join(index: dict[str, object], metadata: Mapping[str, str], body: bytes) -> bytes:
    """Returns a safetensors file whose metadata stand in order.

    The library writes them in another order each time, so that equal runs gave unequal files.
    """
    header = {"__metadata__": dict(sorted(metadata.items())), **index}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
