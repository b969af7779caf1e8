"""What is known about the model that adapter files were made for: its family, layers and shapes.

A base model answers everything. Without one, the names and shapes of the public models are used,
or, for models of other sizes, what can be parsed from the layer names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.combine.base_weights import BaseWeights
from trainer.combine.delta import Shape
from trainer.combine.errors import CombineError
from trainer.export import known_names, recognise_layers
from trainer.files.architectures import OUTER_LAYERS, list_layers
from trainer.files.read import explain_misfit, open_header
from trainer.files.read.family import FamilyGuess, guess_family, measure
from trainer.files.read.keys import KeyGroup, group_keys
from trainer.files.verify.facts import has_size
from trainer.formats.families import FAMILIES
from trainer.formats.header import TensorFile
from trainer.formats.unet_names import UNetNames
from trainer.models.layers import name_layer


@dataclass(frozen=True)
class TargetModel:
    """The model, as far as it is known.

    Attributes:
        family: A key of `FAMILIES`.
        unet_names: The original names of its UNet's blocks.
        layers: Names of its layers, those of the files at least.
        shapes: Of their weights, where they are known.
        base: The base model itself, where one was named.
    """

    family: str
    unet_names: UNetNames
    layers: frozenset[str]
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    base: BaseWeights | None = None


def read_target_model(paths: Sequence[Path], base: BaseWeights | None = None) -> TargetModel:
    """Returns what is known about the model that adapter files were made for.

    Args:
        paths: The files.
        base: A base model that they fit; None uses the files alone.

    Raises:
        ExportError: a file is missing or damaged.
        CombineError: the files are for different families, or do not record one.
    """
    files = [_read_file(path) for path in paths]
    family = _find_common_family(files)
    if base is not None:
        _check_base(files, base)
        names = UNetNames.from_config(base.info.unet)
        return TargetModel(base.info.family, names, frozenset(base.shapes), base.shapes, base)
    if not family:
        msg = (
            f"{paths[0].name} does not record which family of base models it was made for. "
            "Name a base model that it fits with --base-model."
        )
        raise CombineError(msg)
    names = FAMILIES[family].unet.names
    public = list_layers(family)
    known = known_names([*public, *OUTER_LAYERS], names)
    if all(_fits(file, known, public) for file in files):
        return TargetModel(family, names, frozenset([*public, *OUTER_LAYERS]), public)
    layers = frozenset(layer for file in files for layer in _read_grammar(file, names))
    return TargetModel(family, names, layers)


@dataclass(frozen=True)
class _File:
    header: TensorFile
    groups: dict[str, KeyGroup]
    guess: FamilyGuess

    @property
    def shapes(self) -> dict[str, Shape]:
        return {key: entry.shape for key, entry in self.header.tensors.items()}


def _read_file(path: Path) -> _File:
    header = open_header(path)
    groups, _ = group_keys(header.tensors)
    shapes = {key: entry.shape for key, entry in header.tensors.items()}
    guess = guess_family(groups.values(), shapes, header.metadata)
    if guess.unsupported:
        msg = (
            f"{path.name} was made for {guess.title}, which is not supported; supported are "
            f"{', '.join(each.title for each in FAMILIES.values())}."
        )
        raise CombineError(msg)
    return _File(header, groups, guess)


def open_base(path: Path | None) -> BaseWeights | None:
    """Returns a base model's weights, or None without a path.

    Raises:
        ModelError: it is missing, damaged or not a known kind.
    """
    return None if path is None else BaseWeights(path)


def _find_common_family(files: Sequence[_File]) -> str:
    """Returns the family of all files; "" where none records it."""
    known = {file.guess.family: file for file in files if file.guess.family}
    if len(known) > 1:
        named = " and ".join(
            f"{file.header.path.name} for {file.guess.title}" for file in known.values()
        )
        msg = f"The files were made for different families: {named}. Choose files of one family."
        raise CombineError(msg)
    return next(iter(known), "")


def _check_base(files: Sequence[_File], base: BaseWeights) -> None:
    for file in files:
        if file.guess.certain and file.guess.family not in {"", base.info.family}:
            raise CombineError(explain_misfit(file.header.path, file.guess, base.info.family))


def _fits(file: _File, known: Mapping[str, str], public: Mapping[str, Shape]) -> bool:
    """Whether all layers of a file are those of the public model, in name and size."""
    return all(
        spelling in known
        and (
            known[spelling] not in public
            or has_size(measure(group, file.shapes), public[known[spelling]])
        )
        for spelling, group in file.groups.items()
    )


def _read_grammar(file: _File, names: UNetNames) -> list[str]:
    """Returns the layers that a file's names stand for, parsed without a model."""
    layers = recognise_layers(file.groups, names)
    layers |= {
        spelling: name_layer(spelling)
        for spelling in file.groups
        if spelling.startswith(("unet.", "text_encoder"))
    }
    unknown = [spelling for spelling in file.groups if spelling not in layers]
    if unknown:
        msg = (
            f"{file.header.path.name} names {len(unknown)} of {len(file.groups)} layers in a way "
            f"that needs the base model, first {unknown[0]}. Name it with --base-model."
        )
        raise CombineError(msg)
    return list(layers.values())
