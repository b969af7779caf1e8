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
from trainer.files.read import explain_misfit, open_header
from trainer.files.read.identity import explain_no_adapter
from trainer.files.read.keys import READABLE_KINDS, VECTOR_KINDS, group_keys
from trainer.files.read.kinds import check_kinds
from trainer.files.read.recognition import Recognition, recognise
from trainer.formats.architectures import list_known_layers, list_layers
from trainer.formats.families import FAMILIES, list_titles
from trainer.formats.layer_names import is_norm
from trainer.formats.unet_names import UNetNames


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
        norms = (each.removesuffix(".weight") for each in base.stored)
        layers = frozenset([*base.shapes, *filter(is_norm, norms)])
        return TargetModel(base.info.family, names, layers, base.shapes, base)
    if not family:
        fitting = files[0].recognition.guess.candidates
        why = (
            f"fits {list_titles(fitting, 'and')}"
            if fitting
            else "does not record which family of base models it was made for"
        )
        msg = f"{paths[0].name} {why}. Name a base model that it fits with --base-model."
        raise CombineError(msg)
    names = FAMILIES[family].unet.names
    if all(file.recognition.public for file in files):
        return TargetModel(family, names, list_known_layers(family), list_layers(family))
    layers = frozenset(layer for file in files for layer in file.recognition.layers.values())
    return TargetModel(family, names, layers)


@dataclass(frozen=True)
class _File:
    path: Path
    recognition: Recognition


def _read_file(path: Path) -> _File:
    header = open_header(path)
    groups, _ = group_keys(header.tensors, header.shapes)
    message = explain_no_adapter(header, groups)
    if message:
        raise CombineError(message)
    check_kinds(path, groups, READABLE_KINDS | VECTOR_KINDS)
    recognition = recognise(groups, header.shapes, header.metadata)
    if recognition.guess.unsupported:
        msg = (
            f"{path.name} was made for {recognition.guess.title}, which is not supported; "
            f"supported are {list_titles(word='and')}."
        )
        raise CombineError(msg)
    if not recognition.parsed:
        msg = (
            f"Nothing in {path.name} was recognised: none of its {len(groups)} layer names follows "
            f"a known spelling, first {next(iter(groups))}. Choose a LoRA file for "
            f"{list_titles()}."
        )
        raise CombineError(msg)
    return _File(path, recognition)


def open_base(path: Path | None) -> BaseWeights | None:
    """Returns a base model's weights, or None without a path.

    Raises:
        ModelError: it is missing, damaged or not a known kind.
    """
    return None if path is None else BaseWeights(path)


def _find_common_family(files: Sequence[_File]) -> str:
    """Returns the only family that fits all files; "" where several or none do."""
    guesses = [(file.path.name, file.recognition.guess) for file in files]
    known = {guess.family: (name, guess) for name, guess in guesses if guess.family}
    if len(known) > 1:
        named = " and ".join(f"{name} for {guess.title}" for name, guess in known.values())
        msg = f"The files were made for different families: {named}. Choose files of one family."
        raise CombineError(msg)
    fitting = set(known) or set(FAMILIES)
    for file in files:
        guess = file.recognition.guess
        if guess.candidates and not fitting & set(guess.candidates):
            raise CombineError(explain_misfit(file.path, guess, next(iter(known), "")))
        fitting &= set(guess.candidates) or fitting
    return fitting.pop() if len(fitting) == 1 else ""


def _check_base(files: Sequence[_File], base: BaseWeights) -> None:
    family = base.info.family
    for file in files:
        guess = file.recognition.guess
        wrong = guess.candidates and family not in guess.candidates
        if wrong or (guess.certain and guess.family not in {"", family}):
            raise CombineError(explain_misfit(file.path, guess, family))
