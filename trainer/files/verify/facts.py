"""What the rules of the contract look at: a file's layers, shapes, alphas and header."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from trainer.export.names import known_names, recognise_layers
from trainer.files.architectures import OUTER_LAYERS, list_layers
from trainer.files.read import open_header
from trainer.files.read.family import FamilyGuess, guess_family, measure
from trainer.files.read.keys import KeyGroup, group_keys
from trainer.formats.families import FAMILIES
from trainer.formats.header import TensorFile
from trainer.formats.unet_names import SD_NAMES, UNetNames

Shapes = Mapping[str, tuple[int, ...]]
_BLOCK_BYTES = 1 << 20


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
        layers: Spelling → layer, of those that follow a grammar.
        expected: Shape of each layer of its family; empty where the sizes are of no public model.
        alphas: Spelling → alpha, None where it is no single number; only layers that have one.
        digest: sha256 over the tensors' bytes.
        broken: Keys whose weights are not finite.
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
    groups, unknown_keys = group_keys(header.tensors)
    shapes = {key: entry.shape for key, entry in header.tensors.items()}
    guess = guess_family(groups.values(), shapes, header.metadata)
    if base is None:
        guess, layers, expected = _match_family(guess, groups, shapes)
    else:
        known = known_names([*base.shapes, *_list_outer(base.names)], base.names)
        layers = {each: known[each] for each in groups if each in known}
        expected = base.shapes
    alphas, broken = _read_values(path, groups)
    return FileFacts(
        header=header,
        shapes=shapes,
        groups=groups,
        kohya=[spelling for spelling, group in groups.items() if group.naming == "kohya"],
        unknown_keys=unknown_keys,
        guess=guess,
        layers=layers,
        expected=expected,
        alphas=alphas,
        digest=_hash_body(header),
        broken=broken,
    )


def _match_family(
    guess: FamilyGuess, groups: Mapping[str, KeyGroup], shapes: Shapes
) -> tuple[FamilyGuess, dict[str, str], Shapes]:
    """Returns the family, the layers and their expected shapes.

    Where at most half of the layers have the size they have in the public model, the file is for
    a model of other sizes, about which only names can be judged.
    """
    if guess.unsupported:
        return guess, {}, {}
    best, most = "", 0
    for family in [guess.family] if guess.family else FAMILIES:
        layers = _recognise(groups, family)
        expected = list_layers(family)
        fitting = sum(
            has_size(measure(groups[spelling], shapes), expected[layer])
            for spelling, layer in layers.items()
            if layer in expected
        )
        # Layers that SD 1.x and SD 2.x share fit both: neither is chosen.
        if fitting > most:
            best, most = family, fitting
        elif fitting == most:
            best = ""
    family = best or guess.family
    if not family:
        return guess, recognise_layers(groups, SD_NAMES), {}
    layers = _recognise(groups, family)
    if most * 2 <= len(groups):
        grammar = recognise_layers(groups, FAMILIES[family].unet.names)
        return guess, {**grammar, **layers}, {}
    matched = guess if guess.family else FamilyGuess(family, certain=True)
    return matched, layers, list_layers(family)


def _recognise(groups: Iterable[str], family: str) -> dict[str, str]:
    names = FAMILIES[family].unet.names
    layers = known_names([*list_layers(family), *_list_outer(names)], names)
    return {spelling: layers[spelling] for spelling in groups if spelling in layers}


def _list_outer(names: UNetNames) -> list[str]:
    known = {f"unet.{path}" for path in names.forward}
    return [layer for layer in OUTER_LAYERS if layer in known or layer.startswith("text")]


def has_size(size: tuple[int, int], shape: tuple[int, ...]) -> bool:
    """Returns whether rows and elements of a row are those of a weight's shape."""
    return size == (shape[0], math.prod(shape[1:]))


def _read_values(
    path: Path, groups: Mapping[str, KeyGroup]
) -> tuple[dict[str, float | None], list[str]]:
    """Returns the alphas, and the keys of weights that are not finite; one tensor at a time."""
    alphas: dict[str, float | None] = {}
    broken = []
    with safe_open(path, framework="pt") as file:
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
    with header.path.open("rb") as file:
        file.seek(header.body_start)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
