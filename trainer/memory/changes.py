"""Settings that make a run fit into memory: one after the other, each with its effect."""

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.config import RunConfig, layer_config
from trainer.memory.estimate import Estimate, estimate_memory

_SMALLEST_RESOLUTION = 256
_WORTH_IT = 0.98  # a change must bring the peak below this share to be suggested


@dataclass(frozen=True)
class Change:
    """A change of settings, on top of the changes before it.

    Attributes:
        assignments: As for `--set`: "train.batch_size=1".
        cost: Its disadvantage, a sentence.
        estimate: With this change and those before it.
    """

    assignments: tuple[str, ...]
    cost: str
    estimate: Estimate


def suggest(estimate: Estimate, free_bytes: int) -> list[Change]:
    """Returns changes that together make a run fit, the one with the smallest
    disadvantage first.

    Each one builds on those before it. The list ends at the first that fits; where none does, the
    last one still shows how much is missing. It is empty where the run fits as it is.

    Raises:
        EstimateError: a change's memory cannot be estimated.
    """
    changes: list[Change] = []
    current = estimate
    tried: set[str] = set()
    while current.total_bytes > free_bytes:
        candidate = next(
            (each for each in _list_candidates(current) if " ".join(each[0]) not in tried), None
        )
        if candidate is None:
            break
        assignments, cost = candidate
        tried.add(" ".join(assignments))
        config = _apply(current.config, assignments)
        changed = estimate_memory(config, current.models, current.device.kind, current.examples)
        if changed.peak.peak_bytes <= current.peak.peak_bytes * _WORTH_IT:
            changes.append(Change(assignments, cost, changed))
            current = changed
    return changes


def _list_candidates(estimate: Estimate) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields what can still be changed, in the order of disadvantage."""
    config, device = estimate.config, estimate.device
    if not config.train.offload and not device.shares_memory:
        yield (
            ("train.offload=true",),
            "Text encoders and VAE are moved to the device only when needed.",
        )
    if not config.train.gradient_checkpointing and estimate.peak.name == "training step":
        yield ("train.gradient_checkpointing=true",), "A step takes about a third longer."
    if device.precision == "fp32" and device.kind == "cuda":
        yield ("base_model.precision=auto",), "The base model is stored in 16 bits."
    if device.precision == "fp32" and device.kind == "mps":
        yield ("base_model.precision=bf16",), "Stored in 16 bits, which needs macOS 14."
    if config.train.batch_size > 1:
        more = config.train.batch_size * config.train.accumulate
        yield (
            ("train.batch_size=1", f"train.accumulate={min(more, 256)}"),
            "The same images per update, processed one after the other, which takes longer.",
        )
    if config.base_model.quantize == "none" and device.kind != "cpu":
        kind = "int8" if device.kind == "mps" else "fp8"
        yield (
            (f"base_model.quantize={kind}",),
            "The UNet is stored in 8 bits: a little slower and a little less exact.",
        )
    on_gpu = device.kind == "cuda" and config.base_model.quantize != "nf4"
    if on_gpu and config.base_model.offload_fraction < 1:
        yield (
            ("base_model.offload_fraction=1.0",),
            "The UNet's blocks are copied to the GPU whenever they are used, which takes time.",
        )
    if estimate.peak.name == "generating samples":
        yield ("samples.every_steps=0",), "No samples are generated during the run."
    packed = config.base_model.quantize == "nf4" or config.base_model.offload_fraction > 0
    if not packed and device.kind != "mps":
        yield (
            ("base_model.quantize=nf4",),
            "The UNet is stored in 4 bits: slower, slightly less exact, and it needs bitsandbytes.",
        )
    if config.adapter.text_rank:
        yield ("adapter.text_rank=0",), "The text encoder is not trained."
    smaller = _shrink(estimate)
    if smaller:
        yield (f"dataset.resolution={smaller}",), "Small details are learned less well."


def _shrink(estimate: Estimate) -> int:
    """Returns the next smaller resolution, a quarter less in multiples of 64; 0 for none."""
    smaller = estimate.resolution * 3 // 4 // 64 * 64
    return smaller if smaller >= _SMALLEST_RESOLUTION else 0


def _apply(config: RunConfig, assignments: tuple[str, ...]) -> RunConfig:
    return layer_config(settings=config.model_dump(), assignments=assignments)
