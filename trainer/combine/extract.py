"""Extracting a LoRA from the difference of two base models."""

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
    list_in_order,
    start_writer,
)
from trainer.combine.resize import ResizedLayer, describe_choice, truncate
from trainer.combine.stream import TensorStream
from trainer.combine.target_model import TargetModel
from trainer.combine.validation import FindingsCallback, OutputValidator
from trainer.config import RankChoice
from trainer.export import name_base_model
from trainer.formats.families import FAMILIES
from trainer.formats.unet_names import UNetNames


@dataclass(frozen=True)
class Extraction:
    """The result of extracting.

    Attributes:
        layers: The layers in the file.
        equal: Layers that do not differ, and are not in the file.
        left_out: Tensors that differ and that a LoRA file cannot contain: norms, biases, the outer
            layers.
    """

    layers: list[ResizedLayer]
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
    on_findings: FindingsCallback | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Writes the difference of two base models as LoRA, the best approximation per layer.

    Args:
        base_model: The model that the LoRA will be used with.
        tuned_model: The fine-tuned model.
        to: The file to write.
        choice: How much is kept.
        precision: Of the result.
        force: Replaces an existing file, and writes even what some programs cannot read.
        on_findings: Called with the findings before anything is written: which layers differ is
            known only when all have been compared.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ModelError: with what to do; nothing is written then.
    """
    if choice.keeps_all:
        msg = "Give the rank to keep with --rank, --energy or --ratio."
        raise CombineError(msg)
    check_precision(precision)
    check_output(to, force)
    base, tuned = BaseWeights(base_model), BaseWeights(tuned_model)
    _check_pair(base, tuned)
    names = UNetNames.from_config(base.info.unet)
    target_model = TargetModel(base.info.family, names, frozenset(base.shapes), base.shapes, base)
    layers = list_in_order([base.shapes.keys() & base.targets])
    plan = {layer: _plan(base.shapes[layer], choice) for layer in layers}
    check_rank({k: v for k, v in plan.items() if not v.wide}, choice.rank)
    check_rank({k: v for k, v in plan.items() if v.wide}, choice.limit_of(wide=True))
    with TensorStream(to) as stream:
        writer = start_writer(stream, plan, target_model, precision)
        results = _write_layers(base, tuned, layers, writer, choice, progress)
        if stream.empty:
            msg = f"{base.path.name} and {tuned.path.name} do not differ in what a LoRA can change."
            raise CombineError(msg)
        how = {"command": "extract", **describe_choice(choice)}
        header = (
            describe_model(base.info.family, base.info.prediction)
            | _name_models(base, tuned)
            | describe_result(to.stem, writer.measure(), how)
        )
        OutputValidator(to, target_model, precision, force, on_findings).validate_written(
            writer, header
        )
        stream.finish(header)
    return Extraction(results, len(layers) - len(results), _list_left_out(base, tuned))


def _write_layers(
    base: BaseWeights,
    tuned: BaseWeights,
    layers: Sequence[str],
    writer: AdapterWriter,
    choice: RankChoice,
    progress: Progress | None,
) -> list[ResizedLayer]:
    """Writes the layers that differ; returns the rank and energy of each."""
    results = []
    for done, layer in enumerate(layers):
        difference = (tuned.read(layer) - base.read(layer)).flatten(1)
        _check_numbers(layer, difference, base, tuned)
        if difference.any():
            delta = from_matrix(base.shapes[layer], difference)
            factors, resized = truncate(delta, choice, layer)
            writer.add_delta(layer, factors)
            results.append(resized)
        if progress is not None:
            progress(done + 1, len(layers))
    return results


def _plan(shape: tuple[int, ...], choice: RankChoice) -> PlannedLayer:
    wide = PlannedLayer(shape, 1).wide
    limit = find_limit(shape)
    return PlannedLayer(shape, min(choice.limit_of(wide=wide) or limit, limit))


def _check_pair(base: BaseWeights, tuned: BaseWeights) -> None:
    if base.info.family != tuned.info.family or base.shapes != tuned.shapes:
        titles = [FAMILIES[each.info.family].title for each in (base, tuned)]
        msg = (
            f"{base.path.name} ({titles[0]}) and {tuned.path.name} ({titles[1]}) have different "
            "layer shapes, so no LoRA can be extracted. Choose two models of one family."
        )
        raise CombineError(msg)
    if base.info.prediction != tuned.info.prediction and base.info.certain and tuned.info.certain:
        msg = (
            f"{base.path.name} predicts {base.info.prediction} and {tuned.path.name} "
            f"{tuned.info.prediction}, so a LoRA cannot turn one into the other."
        )
        raise CombineError(msg)


def _check_numbers(
    layer: str, difference: torch.Tensor, base: BaseWeights, tuned: BaseWeights
) -> None:
    if not torch.isfinite(difference).all():
        bad = base if not torch.isfinite(base.read(layer)).all() else tuned
        msg = f"{bad.path.name} contains weights that are not finite, in {layer}."
        raise CombineError(msg)


def _name_models(base: BaseWeights, tuned: BaseWeights) -> dict[str, str]:
    names = {
        "ss_sd_model_name": name_base_model(str(base.path)),
        "modelspec.merged_from": name_base_model(str(tuned.path)),
    }
    return {key: value for key, value in names.items() if value}


def _list_left_out(base: BaseWeights, tuned: BaseWeights) -> list[str]:
    targets = {f"{layer}.weight" for layer in base.targets}
    return [
        name
        for name in base.stored
        if name not in targets
        and name in tuned.stored
        and not torch.equal(base.read_tensor(name), tuned.read_tensor(name))
    ]
