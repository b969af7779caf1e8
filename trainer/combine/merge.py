"""Merging several adapter files into one, layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from trainer.combine.delta import Delta, Shape, choose_rank, decompose, find_limit
from trainer.combine.errors import CombineError
from trainer.combine.headers import describe_merged
from trainer.combine.merging import EXACT_RANKS, MERGES
from trainer.combine.outputs import (
    PlannedLayer,
    check_output,
    check_rank,
    list_in_order,
    plan_network,
    start_writer,
)
from trainer.combine.similarity import SimilarityReport, measure_similarity
from trainer.combine.sources import Source, collect_words, open_sources
from trainer.combine.stream import TensorStream
from trainer.combine.target_model import open_base, read_target_model
from trainer.combine.validation import FindingsCallback, OutputValidator
from trainer.config import MergeOptions
from trainer.files.read.family import measure, read_rank
from trainer.seeds import derive_seed

Progress = Callable[[int, int], None]
# Settings that do not affect the numbers, or that have header entries of their own.
_NOT_DESCRIBED = {"method", "precision", "base_model", "signs"}


@dataclass(frozen=True)
class MergeRequest:
    """What to merge, and how.

    Attributes:
        files: Adapter files and their weights.
        to: The file to write.
        options: Method and settings.
        base_model: One that all files fit, for DoRA and for models of unusual size; None for none.
        force: Replaces an existing file, and writes even what some programs cannot read.
    """

    files: Sequence[tuple[Path, float]]
    to: Path
    options: MergeOptions = field(default_factory=MergeOptions)
    base_model: Path | None = None
    force: bool = False


def merge_files(
    request: MergeRequest,
    on_findings: FindingsCallback | None = None,
    progress: Progress | None = None,
) -> SimilarityReport:
    """Merges adapter files into a LoRA file.

    Args:
        request: What to merge, and how.
        on_findings: Called with the findings about the result before anything is computed or
            written.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    _check(request)
    paths = [path for path, _ in request.files]
    target_model = read_target_model(paths, open_base(request.base_model))
    report = SimilarityReport()
    with TensorStream(request.to) as stream, open_sources(paths, target_model) as sources:
        for source in sources:
            source.reject_vectors()
        words = collect_words(sources)
        plan = _plan(sources, request.options)
        how = _describe(request)
        headers = [(source.path, source.file.metadata) for source in sources]
        title = request.to.stem
        header = describe_merged(title, headers, target_model.family, plan_network(plan), how)
        precision = request.options.precision
        validator = OutputValidator(request.to, target_model, precision, request.force, on_findings)
        validator.validate_plan(plan, header)
        writer = start_writer(stream, plan, target_model, precision)
        for done, layer in enumerate(plan):
            result = _merge_layer(layer, sources, request, plan[layer].rank, report)
            if result.up is not None and result.up.any():
                writer.add_delta(layer, result)
            if progress is not None:
                progress(done + 1, len(plan))
        if stream.empty:
            msg = f"The merge changes nothing, so {request.to.name} is not written."
            raise CombineError(msg)
        writer.add_words(words)
        stream.finish(describe_merged(title, headers, target_model.family, writer.measure(), how))
    return report


def _check(request: MergeRequest) -> None:
    if len(request.files) < 2:
        msg = "A merge needs two files or more. `lorasmith scale` changes the strength of one."
        raise CombineError(msg)
    for path, weight in request.files:
        if not torch.isfinite(torch.tensor(weight)):
            msg = f"The weight of {path.name} is {weight}, which is not a finite number."
            raise CombineError(msg)
    check_output(request.to, request.force)


def _plan(sources: Sequence[Source], options: MergeOptions) -> dict[str, PlannedLayer]:
    plan = {}
    for layer in list_in_order([source.file.groups for source in sources]):
        holders = [source for source in sources if layer in source.file.groups]
        plan[layer] = _plan_layer(layer, holders, options)
    check_rank(plan, options.rank)
    return plan


def _plan_layer(layer: str, holders: Sequence[Source], options: MergeOptions) -> PlannedLayer:
    shape = guess_shape(layer, holders)
    limit = find_limit(shape)
    ranks = []
    for source in holders:
        group = source.file.groups[layer]
        plain = group.kind == "lora" and not group.has_magnitude
        rank = read_rank(group, source.file.shapes) or limit
        if group.kind == "glora":
            rank *= 2  # a product with the base weight and one without
        # Other kinds than LoRA reach a higher rank than their factors have.
        ranks.append(rank if plain or options.method not in EXACT_RANKS else limit)
    if options.rank:
        rank = options.rank
    elif options.method in {"concatenate", "orthogonal"}:
        rank = sum(ranks)
    else:
        rank = max(ranks)
    return PlannedLayer(shape, max(1, min(rank, limit)))


def guess_shape(layer: str, holders: Sequence[Source]) -> Shape:
    """Returns the shape of a layer's weight from headers alone; kernel sizes may be missing."""
    source = holders[0]
    known = source.target_model.shapes.get(layer)
    if known is not None:
        return known
    group, shapes = source.file.groups[layer], source.file.shapes
    rows, row = measure(group, shapes)
    part = next((p for p in ("lora_down.weight", "diff") if p in group.keys), "")
    inner = shapes[group.keys[part]][1:] if part else (row,)
    core = group.keys.get("lora_mid.weight")
    if core is not None:
        inner = (inner[0], *shapes[core][2:])
    return (rows, *inner)


def _merge_layer(
    layer: str,
    sources: Sequence[Source],
    request: MergeRequest,
    rank: int,
    report: SimilarityReport,
) -> Delta:
    holders = [(n, each) for n, each in enumerate(sources) if layer in each.file.groups]
    deltas = [source.read(layer) for _, source in holders]
    _check_shapes(layer, [source for _, source in holders], deltas)
    weights = [request.files[number][1] for number, _ in holders]
    generator = torch.Generator().manual_seed(derive_seed(request.options.seed, "merge", layer))
    try:
        merged = MERGES[request.options.method](deltas, weights, request.options, generator)
    except CombineError as error:
        msg = f"{layer} cannot be merged: {error}. Choose another method, such as svd."
        raise CombineError(msg) from error
    result, cut = fit_rank(merged, rank, request.options.energy)
    weighted = [delta.scale(weight) for delta, weight in zip(deltas, weights, strict=True)]
    numbers = [number for number, _ in holders]
    signs = request.options.signs
    similarity = measure_similarity(layer, numbers, weighted, result, signs=signs)
    report.layers.append(replace(similarity, cut=cut))
    return result


def fit_rank(delta: Delta, rank: int, energy: float) -> tuple[Delta, float]:
    """Returns a delta with factors of at most a rank, and the share of the energy that it loses.

    A delta that has such factors already is returned unchanged.
    """
    if delta.factors is not None and delta.rank <= rank and energy >= 1:
        return delta, 0.0
    svd = decompose(delta, most=rank)
    count = choose_rank(svd, rank, energy)
    return svd.cut(count), 1 - svd.share(count)


def _check_shapes(layer: str, sources: Sequence[Source], deltas: Sequence[Delta]) -> None:
    for source, delta in zip(sources, deltas, strict=True):
        if delta.shape != deltas[0].shape:
            msg = (
                f"{sources[0].path.name} and {source.path.name} are for models of different sizes: "
                f"{layer} has the shape {list(deltas[0].shape)} in one and {list(delta.shape)} "
                "in the other. Choose files for one base model."
            )
            raise CombineError(msg)


def _describe(request: MergeRequest) -> Mapping[str, object]:
    options = request.options
    used = options.model_dump(include=set(options.list_used()), exclude=_NOT_DESCRIBED)
    return {
        "command": "merge",
        "method": options.method,
        "weights": [weight for _, weight in request.files],
        **used,
    }
