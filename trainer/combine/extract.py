"""A LoRA from the difference of two base models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.combine.base_weights import BaseWeights
from trainer.combine.delta import find_limit, from_matrix
from trainer.combine.errors import CombineError
from trainer.combine.headers import describe_model, describe_result
from trainer.combine.merge import Progress
from trainer.combine.outputs import (
    AdapterWriter,
    PlannedLayer,
    check_output,
    check_precision,
    check_rank,
    start_writer,
)
from trainer.combine.resize import KeptLayer, describe_choice, keep_strongest
from trainer.combine.stream import TensorStream
from trainer.combine.target_model import Blueprint
from trainer.combine.validation import Foresight, Tell
from trainer.config import RankChoice
from trainer.export import name_base_model
from trainer.files.read.family import FAMILY_TITLES
from trainer.formats.unet_names import UNetNames


@dataclass(frozen=True)
class Extraction:
    """What came of it.

    Attributes:
        layers: What is in the file.
        equal: Layers that do not differ, and are not in the file.
        left_out: Tensors that differ and that a LoRA file cannot hold: norms, biases, the outer
            layers.
    """

    layers: list[KeptLayer]
    equal: int
    left_out: list[str]


def extract_file(
    base_model: Path,
    tuned_model: Path,
    to: Path,
    choice: RankChoice,
    precision: str = "fp16",
    *,
    force: bool = False,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Writes the difference of two base models as LoRA, each layer the best one of its rank.

    Args:
        base_model: What the LoRA will be used on.
        tuned_model: What it will make of that.
        to: The file to write.
        choice: How much is kept.
        precision: Of the result.
        force: Replaces a file that is there, and writes what not every program reads.
        tell: Called with what a check will find, before anything is written: which layers there are
            is known only when all have been compared.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ModelError: with what to do; nothing is written then.
    """
    if choice.keeps_all:
        msg = "Say how much to keep: --rank, --energy or --ratio."
        raise CombineError(msg)
    check_precision(precision)
    check_output(to, force)
    base, tuned = BaseWeights(base_model), BaseWeights(tuned_model)
    _check_pair(base, tuned)
    names = UNetNames.from_config(base.info.unet)
    blueprint = Blueprint(base.info.family, names, frozenset(base.shapes), base.shapes, base)
    layers = [layer for layer in base.shapes if layer in base.targets]
    plan = {layer: _plan(base.shapes[layer], choice) for layer in layers}
    check_rank({k: v for k, v in plan.items() if not v.wide}, choice.rank)
    check_rank({k: v for k, v in plan.items() if v.wide}, choice.limit_of(wide=True))
    with TensorStream(to) as stream:
        writer = start_writer(stream, plan, blueprint, precision)
        kept = _write_layers(base, tuned, layers, writer, choice, progress)
        if stream.empty:
            msg = (
                f"{base.path.name} and {tuned.path.name} do not differ where a LoRA could hold it."
            )
            raise CombineError(msg)
        how = {"command": "extract", **describe_choice(choice)}
        header = (
            describe_model(base.info.family, base.info.prediction)
            | _name_models(base, tuned)
            | describe_result(to.stem, writer.measure(), how)
        )
        Foresight(to, blueprint, precision, force, tell).judge_written(writer, header)
        stream.finish(header)
    return Extraction(kept, len(layers) - len(kept), _list_left_out(base, tuned))


def _write_layers(
    base: BaseWeights,
    tuned: BaseWeights,
    layers: Sequence[str],
    writer: AdapterWriter,
    choice: RankChoice,
    progress: Progress | None,
) -> list[KeptLayer]:
    """Writes the layers that differ; returns what was kept of each."""
    kept = []
    for done, layer in enumerate(layers):
        difference = (tuned.read(layer) - base.read(layer)).flatten(1)
        _check_numbers(layer, difference, base, tuned)
        if difference.any():
            change = from_matrix(base.shapes[layer], difference)
            factors, told = keep_strongest(change, choice, layer)
            writer.add_change(layer, factors)
            kept.append(told)
        if progress is not None:
            progress(done + 1, len(layers))
    return kept


def _plan(shape: tuple[int, ...], choice: RankChoice) -> PlannedLayer:
    wide = PlannedLayer(shape, 1).wide
    limit = find_limit(shape)
    return PlannedLayer(shape, min(choice.limit_of(wide=wide) or limit, limit))


def _check_pair(base: BaseWeights, tuned: BaseWeights) -> None:
    if base.info.family != tuned.info.family or base.shapes != tuned.shapes:
        titles = [FAMILY_TITLES[each.info.family] for each in (base, tuned)]
        msg = (
            f"{base.path.name} ({titles[0]}) and {tuned.path.name} ({titles[1]}) are not of the "
            "same shape, so their difference is no LoRA. Take two models of one family."
        )
        raise CombineError(msg)
    if base.info.prediction != tuned.info.prediction and base.info.certain and tuned.info.certain:
        msg = (
            f"{base.path.name} predicts {base.info.prediction} and {tuned.path.name} "
            f"{tuned.info.prediction}, so a LoRA cannot make one of the other."
        )
        raise CombineError(msg)


def _check_numbers(
    layer: str, difference: torch.Tensor, base: BaseWeights, tuned: BaseWeights
) -> None:
    if not torch.isfinite(difference).all():
        bad = base if not torch.isfinite(base.read(layer)).all() else tuned
        msg = f"{bad.path.name} holds weights that are no numbers, in {layer}."
        raise CombineError(msg)


def _name_models(base: BaseWeights, tuned: BaseWeights) -> dict[str, str]:
    names = {
        "ss_sd_model_name": name_base_model(str(base.path)),
        "modelspec.merged_from": name_base_model(str(tuned.path)),
    }
    return {key: value for key, value in names.items() if value}


def _list_left_out(base: BaseWeights, tuned: BaseWeights) -> list[str]:
    held = {f"{layer}.weight" for layer in base.targets}
    return [
        name
        for name in base.stored
        if name not in held
        and name in tuned.stored
        and not torch.equal(base.read_tensor(name), tuned.read_tensor(name))
    ]
