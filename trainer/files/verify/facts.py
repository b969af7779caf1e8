"""What the rules of the contract look at: a file's layers, shapes, alphas and header."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from trainer.export.errors import ExportError
from trainer.files.read import open_header
from trainer.files.read.adapter_file import call_damaged
from trainer.files.read.family import FamilyGuess
from trainer.files.read.keys import KeyGroup, find_words, group_keys
from trainer.files.read.recognition import recognise
from trainer.formats.architectures import OUTER_LAYERS, list_layers
from trainer.formats.header import TensorFile
from trainer.formats.layer_names import is_norm
from trainer.formats.spellings import KOHYA, ParsedName, parse_names
from trainer.formats.unet_names import UNetNames

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class BaseLayers:
    """The layers of a base model that is at hand, where it is of no public size.

    Attributes:
        shapes: Of each layer's weight.
        names: The original names of its UNet's blocks.
    """

    shapes: Shapes
    names: UNetNames


@dataclass(frozen=True)
class FileFacts:
    """A file, looked at once.

    Attributes:
        header: Names, shapes and metadata.
        shapes: Of each tensor, by key.
        groups: Its layers by their spelling.
        kohya: Spellings in the kohya format.
        unknown_keys: Keys that are no part of an adapter.
        guess: The family that it was made for.
        layers: Name → layer, of those that its model has.
        expected: Shape of each layer of its family; empty where the sizes are of no public model.
        alphas: Spelling → alpha, None where it is no single number; only layers that have one.
        digest: sha256 over the tensors' bytes.
        broken: Keys whose weights are not finite.
        parsed: What each name stands for, of those that follow a grammar.
    """

    header: TensorFile
    shapes: Shapes
    groups: Mapping[str, KeyGroup]
    kohya: list[str]
    unknown_keys: list[str]
    guess: FamilyGuess
    layers: Mapping[str, str]
    expected: Shapes
    alphas: Mapping[str, float | None]
    digest: str
    broken: list[str]
    parsed: Mapping[str, ParsedName]

    @property
    def words(self) -> Mapping[str, Mapping[str, str]]:
        """The keys of embeddings that are bundled with the layers, by word and part."""
        return find_words(self.shapes)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The header's texts."""
        return self.header.metadata

    @property
    def blocks(self) -> set[str]:
        """How kohya names spell the UNet's blocks: "diffusers", "original" or both."""
        starts = {
            "diffusers": ("down_blocks_", "mid_block_", "up_blocks_"),
            "original": ("input_blocks_", "middle_block_", "output_blocks_"),
        }
        paths = [each.removeprefix("lora_unet_") for each in self.kohya]
        return {name for name, start in starts.items() if any(p.startswith(start) for p in paths)}


def collect_facts(path: Path, base: BaseLayers | None = None) -> FileFacts:
    """Returns the facts about a file.

    Args:
        path: A .safetensors file.
        base: The layers of the base model; None takes those of the family it seems to be for.

    Raises:
        ExportError: the file is missing or damaged.
    """
    header = open_header(path)
    shapes = header.shapes
    groups, unknown_keys = group_keys(header.tensors, shapes)
    recognition = recognise(groups, shapes, header.metadata)
    parsed, layers = recognition.parsed, recognition.layers
    expected: Shapes = list_layers(recognition.guess.family) if recognition.public else {}
    if base is not None:
        parsed = parse_names(groups, base.names)
        layers = {name: p.layer for name, p in parsed.items() if _has_layer(base, p.layer)}
        expected = base.shapes
    alphas, broken = _read_values(path, groups)
    return FileFacts(
        header=header,
        shapes=shapes,
        groups=groups,
        kohya=[name for name in groups if _is_kohya(name, parsed)],
        unknown_keys=unknown_keys,
        guess=recognition.guess,
        layers=layers,
        expected=expected,
        alphas=alphas,
        digest=_hash_body(header),
        broken=broken,
        parsed=parsed,
    )


def _is_kohya(name: str, parsed: Mapping[str, ParsedName]) -> bool:
    known = parsed.get(name)
    return known.spelling in KOHYA if known else name.startswith(("lora_unet_", "lora_te"))


def _has_layer(base: BaseLayers, layer: str) -> bool:
    if layer in base.shapes:
        return True
    if not is_norm(layer) and layer not in OUTER_LAYERS:
        return False
    try:
        return layer.startswith("text") or bool(base.names.to_original(layer.partition(".")[2]))
    except KeyError:
        return False


def _read_values(
    path: Path, groups: Mapping[str, KeyGroup]
) -> tuple[dict[str, float | None], list[str]]:
    """Returns the alphas, and the keys of weights that are not finite; one tensor at a time."""
    alphas: dict[str, float | None] = {}
    broken = []
    try:
        handle = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        # safetensors refuses what we do not look at, such as a number that is too large.
        raise ExportError(call_damaged(path, error)) from error
    with handle as file:
        for spelling, group in groups.items():
            for part, key in group.keys.items():
                tensor = file.get_tensor(key)
                if part == "alpha":
                    alphas[spelling] = tensor.float().item() if tensor.numel() == 1 else None
                # A complex number is another rule's; as a float it would lose a part.
                values = tensor if tensor.is_complex() else tensor.float()
                if not torch.isfinite(values).all():
                    broken.append(key)
    return alphas, broken


def _hash_body(header: TensorFile) -> str:
    digest = hashlib.sha256()
    for piece in header.read_body():
        digest.update(piece)
    return digest.hexdigest()
