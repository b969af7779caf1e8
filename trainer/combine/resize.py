"""Changing the rank of an adapter file, and its strength per block."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from trainer.combine.delta import Delta, choose_rank, decompose, find_limit
from trainer.combine.errors import CombineError
from trainer.combine.headers import describe_derived
from trainer.combine.merge import Progress, guess_shape
from trainer.combine.outputs import (
    PlannedLayer,
    check_output,
    check_precision,
    check_rank,
    plan_network,
    start_writer,
)
from trainer.combine.sources import Source, collect_words, open_sources
from trainer.combine.stream import TensorStream
from trainer.combine.target_model import open_base, read_target_model
from trainer.combine.validation import FindingsCallback, OutputValidator
from trainer.config import RankChoice
from trainer.export import FileModule
from trainer.files.read.family import read_rank
from trainer.files.read.keys import VECTOR_KINDS
from trainer.files.read.kinds import name_kind


@dataclass(frozen=True)
class ResizedLayer:
    """A layer of the result.

    Attributes:
        layer: Its name.
        rank: Its new rank.
        before: Its old rank; the limit of the layer where the delta had no factors.
        energy: Share of its squared norm that was kept.
    """

    layer: str
    rank: int
    before: int
    energy: float


def describe_choice(choice: RankChoice) -> dict[str, object]:
    """Returns how much was to be kept, as the header states it."""
    return choice.model_dump(exclude={"precision", "base_model", "tuned_model"})


def truncate(delta: Delta, choice: RankChoice, layer: str) -> tuple[Delta, ResizedLayer]:
    """Returns a delta truncated to a choice of ranks, and how much of it was kept."""
    wide = len(delta.shape) == 4 and max(delta.shape[2:]) > 1
    most = choice.limit_of(wide=wide)
    svd = decompose(delta, most)
    rank = choose_rank(svd, most, choice.energy, choice.ratio)
    return svd.cut(rank), ResizedLayer(layer, rank, delta.rank, svd.share(rank))


def resize_file(
    path: Path,
    to: Path,
    choice: RankChoice,
    precision: str = "fp16",
    *,
    base_model: Path | None = None,
    force: bool = False,
    on_findings: FindingsCallback | None = None,
    progress: Progress | None = None,
) -> list[ResizedLayer]:
    """Writes an adapter file as LoRA of another rank, the best approximation per layer.

    Args:
        path: A file of any kind.
        to: The file to write.
        choice: How much is kept.
        precision: Of the result.
        base_model: One that the file fits; DoRA needs it.
        force: Replaces an existing file, and writes even what some programs cannot read.
        on_findings: Called with the findings about the result before anything is computed or
            written.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    if choice.keeps_all:
        msg = "Give the rank to keep with --rank, --energy or --ratio."
        raise CombineError(msg)
    check_precision(precision)
    check_output(to, force)
    target_model = read_target_model([path], open_base(base_model))
    results: list[ResizedLayer] = []
    with TensorStream(to) as stream, open_sources([path], target_model) as (source,):
        source.reject_vectors()
        plan = {layer: _plan(layer, source, choice) for layer in source.file.groups}
        check_rank({k: v for k, v in plan.items() if not v.wide}, choice.rank)
        check_rank({k: v for k, v in plan.items() if v.wide}, choice.limit_of(wide=True))
        how, header = {"command": "resize", **describe_choice(choice)}, source.file.metadata
        family = target_model.family
        header_before = describe_derived(to.stem, header, family, plan_network(plan), how)
        OutputValidator(to, target_model, precision, force, on_findings).validate_plan(
            plan, header_before
        )
        writer = start_writer(stream, plan, target_model, precision)
        for done, layer in enumerate(plan):
            delta, resized = truncate(source.read(layer), choice, layer)
            if resized.rank:
                writer.add_delta(layer, delta)
                results.append(resized)
            if progress is not None:
                progress(done + 1, len(plan))
        if stream.empty:
            msg = f"{path.name} changes nothing, so {to.name} is not written."
            raise CombineError(msg)
        writer.add_words(collect_words([source]))
        stream.finish(describe_derived(to.stem, header, family, writer.measure(), how))
    return results


def _plan(layer: str, source: Source, choice: RankChoice) -> PlannedLayer:
    shape = guess_shape(layer, [source])
    planned = PlannedLayer(shape, 1)
    limit = find_limit(shape)
    own = read_rank(source.file.groups[layer], source.file.shapes) or limit
    return PlannedLayer(shape, choice.limit_of(wide=planned.wide) or min(own, limit))


def scale_file(
    path: Path,
    to: Path,
    patterns: Sequence[tuple[str, float]],
    precision: str = "fp16",
    *,
    base_model: Path | None = None,
    force: bool = False,
    on_findings: FindingsCallback | None = None,
) -> dict[str, float]:
    """Writes an adapter file with other strengths per layer; kinds and ranks stay.

    Args:
        path: A file of any kind but DoRA, whose delta is not proportional to its weights.
        to: The file to write.
        patterns: Pattern of layer names (`unet.down_blocks.*`) and factor; the first that fits
            decides, and layers that none fits stay. A layer of factor 0 is left out.
        precision: Of the result.
        base_model: One that the file fits; models of unusual size may need it.
        force: Replaces an existing file, and writes even what some programs cannot read.
        on_findings: Called with the findings before the file is renamed to its final name.

    Returns:
        The factor of each layer.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    check_precision(precision)
    check_output(to, force)
    target_model = read_target_model([path], open_base(base_model))
    with TensorStream(to) as stream, open_sources([path], target_model) as (source,):
        layers = list(source.file.groups)
        factors = find_factors(layers, patterns)
        vectors = [n for n, each in source.file.groups.items() if each.kind in VECTOR_KINDS]
        planned = [layer for layer in layers if layer not in vectors]
        plan = {layer: _plan(layer, source, RankChoice()) for layer in planned}
        writer = start_writer(stream, plan, target_model, precision, vectors)
        for layer in layers:
            if factors[layer] != 0:
                module = source.file.read(layer)
                if module.kind == "lora":
                    delta = source.make_delta(layer, module).scale(factors[layer])
                    bias = module.tensors.get("diff_b")
                    writer.add_delta(layer, delta, None if bias is None else bias * factors[layer])
                else:
                    parts = _scale_parts(path, layer, module, factors[layer])
                    writer.add_parts(layer, module.kind, parts)
        if stream.empty:
            msg = f"All layers of {path.name} would be left out, so {to.name} is not written."
            raise CombineError(msg)
        how = {"command": "scale", "patterns": [list(pair) for pair in patterns]}
        before, network = source.file.metadata, writer.measure()
        header = describe_derived(to.stem, before, target_model.family, network, how)
        OutputValidator(to, target_model, precision, force, on_findings).validate_written(
            writer, header
        )
        writer.add_words(collect_words([source]))
        stream.finish(header)
    return factors


def find_factors(layers: Sequence[str], patterns: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Returns the factor of each layer: that of the first pattern that fits, else 1.

    Raises:
        CombineError: a pattern fits no layer, or a factor is no number.
    """
    for pattern, factor in patterns:
        if not torch.isfinite(torch.tensor(factor)):
            msg = f"The factor of {pattern} is {factor}, which is not a finite number."
            raise CombineError(msg)
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            msg = f"The pattern {pattern} matches no layer; layer names look like {layers[0]}."
            raise CombineError(msg)
    return {
        layer: next((factor for pattern, factor in patterns if fnmatchcase(layer, pattern)), 1.0)
        for layer in layers
    }


# The tensor to multiply: the first of these that a layer has.
_CARRIERS = {
    "loha": ("hada_w1_a",),
    "lokr": ("lokr_w1", "lokr_w1_a"),
    "full": ("diff",),
    "ia3": ("ia3_scale",),
    "glora": ("alpha",),
    "norm": ("w_norm",),
    "bias": ("diff_b",),
}
_WITHOUT_ALPHA = {"full", "ia3", *VECTOR_KINDS}


def _scale_parts(path: Path, layer: str, module: FileModule, factor: float) -> dict[str, Tensor]:
    """Returns the tensors of a layer with its delta multiplied by a factor."""
    if module.kind not in _CARRIERS and factor != 1:
        msg = (
            f"{path.name} holds {layer} as {name_kind(module.kind)}, whose delta is not "
            "proportional to its weights. Convert it to LoRA first, with lorasmith resize."
        )
        raise CombineError(msg)
    parts = dict(module.tensors)
    if module.kind not in _WITHOUT_ALPHA:
        parts["alpha"] = torch.tensor(module.alpha)
    carrier = next((name for name in _CARRIERS.get(module.kind, ()) if name in parts), "")
    for name in {carrier, "diff_b", "b_norm"}:
        if name in parts:
            parts[name] = parts[name] * factor
    return parts
