"""Baking adapters into a base model, and subtracting them from one."""

from collections.abc import Sequence
from pathlib import Path

from datasets_tools.files import explain_write_error
from datasets_tools.names import explain_path
from trainer.combine.baking import VECTOR_PARTS, Baker, BakeResult
from trainer.combine.base_weights import BaseWeights
from trainer.combine.errors import CombineError
from trainer.combine.merge import Progress
from trainer.combine.sources import Source, collect_words, open_sources
from trainer.combine.target_model import read_target_model
from trainer.files.read import open_header
from trainer.files.read.keys import group_keys
from trainer.files.read.kinds import name_kind


def bake_files(
    base_model: Path,
    files: Sequence[tuple[Path, float]],
    to: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> BakeResult:
    """Writes a base model with adapters in its weights; negative weights subtract them.

    Args:
        base_model: A file in the original layout, or a folder in the diffusers layout.
        files: Adapter files of any kind, with their weights.
        to: The file or the folder to write.
        force: Replaces what is there.
        progress: Called with how many bytes are written, and of how many.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    if not files:
        msg = "Give at least one adapter file to bake into the base model."
        raise CombineError(msg)
    base = BaseWeights(base_model)
    _check_output(base, to, force)
    target_model = read_target_model([path for path, _ in files], base)
    with open_sources([path for path, _ in files], target_model) as sources:
        for source in sources:
            _check_vectors(source, base)
        weighted = list(zip(sources, (weight for _, weight in files), strict=True))
        baker = Baker(base, weighted, progress)
        try:
            if base.info.layout == "file":
                baker.write_file(base.info.parts["unet"].files[0], to)
            else:
                baker.write_folder(to)
        except OSError as error:
            raise CombineError(explain_write_error(to, error)) from error
        baker.result.words = list(collect_words(sources))
    return baker.result


def subtract_files(
    base_model: Path,
    files: Sequence[tuple[Path, float]],
    to: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> BakeResult:
    """Writes a base model without the adapters that were baked into it; as `bake_files`.

    The result differs from the original by the rounding of its number format.

    Raises:
        CombineError: as `bake_files`, or a file is a DoRA or of another kind whose delta cannot
            be computed without the weights that it was baked into.
    """
    for path, _ in files:
        groups, _ = group_keys(open_header(path).tensors)
        bad = [spelling for spelling, group in groups.items() if group.needs_base]
        if bad:
            kind = "DoRA" if groups[bad[0]].has_magnitude else name_kind(groups[bad[0]].kind)
            msg = (
                f"{path.name} holds {kind}, first {bad[0]}. Its delta depends on the weights "
                "before it was baked in, so it cannot be subtracted. Use the original base model."
            )
            raise CombineError(msg)
    negated = [(path, -weight) for path, weight in files]
    return bake_files(base_model, negated, to, force=force, progress=progress)


def _check_vectors(source: Source, base: BaseWeights) -> None:
    """Rejects a file that changes a vector which the base model does not have."""
    for layer, group in source.file.groups.items():
        for leaf, parts in VECTOR_PARTS.items():
            if not any(part in group.keys for part in parts) or f"{layer}.{leaf}" in base.stored:
                continue
            msg = (
                f"{source.path.name} changes the {leaf} of {layer}, which the base model does not "
                "have, so that it would be left out. Choose a file without it."
            )
            raise CombineError(msg)


def _check_output(base: BaseWeights, to: Path, force: bool) -> None:
    if base.info.layout == "file" and to.suffix != ".safetensors":
        msg = f"{base.path.name} is a file, so {to.name} must end in .safetensors."
        raise CombineError(msg)
    if base.info.layout == "folder" and to.suffix == ".safetensors":
        msg = (
            f"{base.path.name} is a folder, so the result is a folder too. Remove .safetensors "
            f"from {to.name}."
        )
        raise CombineError(msg)
    if problem := explain_path(to):
        raise CombineError(problem)
    if not to.parent.is_dir():
        raise CombineError(explain_write_error(to, FileNotFoundError()))
    inside = (to.resolve(), *to.resolve().parents)
    if base.path.resolve() in inside:
        msg = f"{to} is the base model itself, which is read while the result is written."
        raise CombineError(msg)
    if to.exists() and not force:
        msg = f"{to} exists. Choose another name, or give --force to replace it."
        raise CombineError(msg)
    is_model = (to / "model_index.json").is_file() if base.info.layout == "folder" else to.is_file()
    if to.exists() and not is_model:
        msg = f"{to} is not a base model, so it is not replaced. Choose another name."
        raise CombineError(msg)
