"""Giving an adapter file another rank, and other strengths per block."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from trainer.combine.delta import Change, choose_rank, decompose, find_limit
from trainer.combine.errors import CombineError
from trainer.combine.headers import describe_changed
from trainer.combine.merge import Progress, guess_shape
from trainer.combine.outputs import (
    PlannedLayer,
    check_output,
    check_precision,
    check_rank,
    plan_network,
    start_writer,
)
from trainer.combine.sources import Source, open_sources
from trainer.combine.stream import TensorStream
from trainer.combine.target_model import draw_blueprint, open_base
from trainer.combine.validation import Foresight, Tell
from trainer.config import RankChoice
from trainer.export import FileModule
from trainer.files.read.family import read_rank


@dataclass(frozen=True)
class KeptLayer:
    """What became of a layer.

    Attributes:
        layer: Its name.
        rank: It has now.
        before: It had; the limit of the layer where the change had no factors.
        energy: Share of its squared norm that is left.
    """

    layer: str
    rank: int
    before: int
    energy: float


def describe_choice(choice: RankChoice) -> dict[str, object]:
    """Returns how much was to be kept, as the header says it."""
    return choice.model_dump(exclude={"precision", "base_model", "tuned_model"})


def keep_strongest(change: Change, choice: RankChoice, layer: str) -> tuple[Change, KeptLayer]:
    """Returns what is left of a change, and how much that is."""
    wide = len(change.shape) == 4 and max(change.shape[2:]) > 1
    most = choice.limit_of(wide=wide)
    spectrum = decompose(change, most)
    rank = choose_rank(spectrum, most, choice.energy, choice.ratio)
    return spectrum.cut(rank), KeptLayer(layer, rank, change.rank, spectrum.share(rank))


def resize_file(
    path: Path,
    to: Path,
    choice: RankChoice,
    precision: str = "fp16",
    *,
    base_model: Path | None = None,
    force: bool = False,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> list[KeptLayer]:
    """Writes an adapter file as LoRA of another rank, each layer the best one of its rank.

    Args:
        path: A file of any kind.
        to: The file to write.
        choice: How much is kept.
        precision: Of the result.
        base_model: One that the file fits; DoRA needs it.
        force: Replaces a file that is there, and writes what not every program reads.
        tell: Called with what a check will find, before anything is computed or written.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    if choice.keeps_all:
        msg = "Say what to keep: --rank, --energy or --ratio."
        raise CombineError(msg)
    check_precision(precision)
    check_output(to, force)
    blueprint = draw_blueprint([path], open_base(base_model))
    kept: list[KeptLayer] = []
    with open_sources([path], blueprint) as (source,), TensorStream(to) as stream:
        plan = {layer: _plan(layer, source, choice) for layer in source.file.groups}
        check_rank({k: v for k, v in plan.items() if not v.wide}, choice.rank)
        check_rank({k: v for k, v in plan.items() if v.wide}, choice.limit_of(wide=True))
        how, header = {"command": "resize", **describe_choice(choice)}, source.file.metadata
        family = blueprint.family
        foreseen = describe_changed(to.stem, header, family, plan_network(plan), how)
        Foresight(to, blueprint, precision, force, tell).judge_plan(plan, foreseen)
        writer = start_writer(stream, plan, blueprint, precision)
        for done, layer in enumerate(plan):
            change, told = keep_strongest(source.read(layer), choice, layer)
            if told.rank:
                writer.add_change(layer, change)
                kept.append(told)
            if progress is not None:
                progress(done + 1, len(plan))
        if stream.empty:
            msg = f"{path.name} changes nothing, so {to.name} is not written."
            raise CombineError(msg)
        stream.finish(describe_changed(to.stem, header, family, writer.measure(), how))
    return kept


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
    tell: Tell | None = None,
) -> dict[str, float]:
    """Writes an adapter file with other strengths per layer; kinds and ranks stay.

    Args:
        path: A file of any kind but DoRA, whose change is not in proportion to its numbers.
        to: The file to write.
        patterns: Pattern of layer names (`unet.down_blocks.*`) and factor; the first that fits
            decides, and layers that none fits stay. A layer of factor 0 is left out.
        precision: Of the result.
        base_model: One that the file fits; models of unusual size may need it.
        force: Replaces a file that is there, and writes what not every program reads.
        tell: Called with what a check will find, before the file is there.

    Returns:
        The factor of each layer.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    check_precision(precision)
    check_output(to, force)
    blueprint = draw_blueprint([path], open_base(base_model))
    with open_sources([path], blueprint) as (source,), TensorStream(to) as stream:
        layers = list(source.file.groups)
        factors = find_factors(layers, patterns)
        plan = {layer: _plan(layer, source, RankChoice()) for layer in layers}
        writer = start_writer(stream, plan, blueprint, precision)
        for layer in layers:
            if factors[layer] != 0:
                module = source.file.read(layer)
                if module.kind == "lora":
                    change = source.make_change(layer, module).scale(factors[layer])
                    bias = module.tensors.get("diff_b")
                    writer.add_change(
                        layer, change, None if bias is None else bias * factors[layer]
                    )
                else:
                    parts = _scale_parts(path, layer, module, factors[layer])
                    writer.add_parts(layer, module.kind, parts)
        if stream.empty:
            msg = f"All layers of {path.name} would be left out, so {to.name} is not written."
            raise CombineError(msg)
        how = {"command": "scale", "patterns": [list(pair) for pair in patterns]}
        before, network = source.file.metadata, writer.measure()
        header = describe_changed(to.stem, before, blueprint.family, network, how)
        Foresight(to, blueprint, precision, force, tell).judge_written(writer, header)
        stream.finish(header)
    return factors


def find_factors(layers: Sequence[str], patterns: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Returns the factor of each layer: that of the first pattern that fits, else 1.

    Raises:
        CombineError: a pattern fits no layer, or a factor is no number.
    """
    for pattern, factor in patterns:
        if not torch.isfinite(torch.tensor(factor)):
            msg = f"The factor of {pattern} is {factor}, which is no number to multiply with."
            raise CombineError(msg)
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            msg = f"The pattern {pattern} fits none of the layers, which are like {layers[0]}."
            raise CombineError(msg)
    return {
        layer: next((factor for pattern, factor in patterns if fnmatchcase(layer, pattern)), 1.0)
        for layer in layers
    }


# The part that carries the strength, the first that a layer has.
_CARRIERS = {"loha": ("hada_w1_a",), "lokr": ("lokr_w1", "lokr_w1_a"), "full": ("diff",)}


def _scale_parts(path: Path, layer: str, module: FileModule, factor: float) -> dict[str, Tensor]:
    """Returns the parts of a layer, so many times as strong."""
    if module.kind not in _CARRIERS and factor != 1:
        msg = (
            f"{path.name} holds {layer} as DoRA, whose change is not in proportion to its numbers. "
            "Make a LoRA of it first, with lorasmith resize."
        )
        raise CombineError(msg)
    parts = dict(module.tensors)
    if module.kind != "full":
        parts["alpha"] = torch.tensor(module.alpha)
    carrier = next((name for name in _CARRIERS.get(module.kind, ()) if name in parts), "")
    for name in (carrier, "diff_b"):
        if name in parts:
            parts[name] = parts[name] * factor
    return parts
