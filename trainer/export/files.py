"""Safetensors files for other programs: hashes over their final bytes, written in one piece."""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from datasets_tools.files import explain_write_error, write_atomically
from trainer.dtypes import DTYPES
from trainer.export.errors import ExportError

MAX_HEADER_BYTES = 1 << 20  # ComfyUI shows no more; model managers follow it
_SMALL_FOR_FP16 = 2.0**-10  # a weight a hundredth of it would lose its digits
_FACTORS = ("lora_", "hada_", "lokr_")  # parts that are multiplied with each other
# What goes first when a header would be longer.
_CAN_GO = ("ss_tag_frequency", "modelspec.thumbnail", "lorasmith.config")


def cast_weight(layer: str, value: Tensor, precision: str) -> Tensor:
    """Returns a weight in the file's number format.

    Raises:
        ExportError: it is not finite, or not in this format.
    """
    cast = value.to(DTYPES[precision]).contiguous()
    if not torch.isfinite(cast).all():
        msg = f"The weights of {layer} are not finite" + (
            f" in {precision}; export in bf16 or fp32."
            if torch.isfinite(value).all()
            else ": the training diverged."
        )
        raise ExportError(msg)
    return cast


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Writes a file aside and renames it; returns its hash, sha256 over the tensors' bytes.

    Args:
        path: Where to.
        tensors: By name.
        metadata: The header, without the hashes, which are added here.

    Raises:
        ExportError: the disk is full or cannot be written.
    """
    index, body = _split(save(dict(tensors)))
    digest = hashlib.sha256(body).hexdigest()
    header = {**metadata, "sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}
    text = encode_header(index, header)
    try:
        write_atomically(path, struct.pack("<Q", len(text)) + text + body)
    except OSError as error:
        raise ExportError(explain_write_error(path, error)) from error
    return digest


def _split(serialised: bytes) -> tuple[dict[str, object], memoryview]:
    """Returns the index of a safetensors file and the bytes of its tensors."""
    end = 8 + struct.unpack("<Q", serialised[:8])[0]
    index: dict[str, object] = json.loads(serialised[8:end])
    return index, memoryview(serialised)[end:]


def encode_header(index: Mapping[str, object], metadata: Mapping[str, str]) -> bytes:
    """Returns a header that programs accept: without its bulky entries where it would be too long.

    Args:
        index: Number format, shape and place of every tensor, by name.
        metadata: The texts.
    """
    fields = dict(metadata)
    text = _encode(index, fields)
    for key in _CAN_GO:
        if len(text) > MAX_HEADER_BYTES and fields.pop(key, None) is not None:
            text = _encode(index, fields)
    return text


def _encode(index: Mapping[str, object], metadata: Mapping[str, str]) -> bytes:
    """Returns the header with its metadata in order.

    The library writes them in another order each time, so that equal runs gave unequal files.
    """
    header = {"__metadata__": dict(sorted(metadata.items())), **index}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def even_out(down: Tensor, up: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Returns factors of the same product that fp16 can hold.

    Below 6e-5 fp16 has fewer digits, below 6e-8 none, and after few steps `up` is as small as that.
    Then a power of two moves from `down` to `up`, which changes no digit of either.
    """
    smaller, larger = up.abs().max().item(), down.abs().max().item()
    if precision != "fp16" or not 0 < smaller < _SMALL_FOR_FP16 or not 0 < larger < math.inf:
        return down, up
    factor = 2.0 ** round(math.log2(larger / smaller) / 2)
    return down / factor, up * factor


def even_out_parts(parts: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Returns the parts of a layer of another kind with factors that fp16 can hold.

    The difference of LoHa, LoKr and DoRA is a product of all their factors, of whatever sort, so a
    power of two may move from one to another, as between those of a plain LoRA.
    """
    factors = [name for name in parts if name.startswith(_FACTORS)]
    sizes = {name: parts[name].abs().max().item() for name in factors}
    smallest, largest = min(sizes.values(), default=0.0), max(sizes.values(), default=0.0)
    if precision != "fp16" or not 0 < smallest < _SMALL_FOR_FP16 or not largest < math.inf:
        return dict(parts)
    mean = sum(math.log2(size) for size in sizes.values()) / len(sizes)
    powers = {name: round(mean - math.log2(size)) for name, size in sizes.items()}
    # What rounding leaves goes to the largest, so that the product stays.
    powers[max(sizes, key=lambda name: sizes[name])] -= sum(powers.values())
    return {**parts, **{name: parts[name] * 2.0 ** powers[name] for name in factors}}
