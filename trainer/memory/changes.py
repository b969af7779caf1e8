"""What would make a run fit: one setting after the other, each with what it brings."""

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.config import RunConfig, layer_config
from trainer.memory.estimate import Estimate, estimate_memory

_SMALLEST_RESOLUTION = 256
_WORTH_IT = 0.98  # a change that leaves more than this share of the peak is not suggested


@dataclass(frozen=True)
class Change:
    """A step towards fitting, on top of the changes before it.

    Attributes:
        assignments: As for `--set`: "train.batch_size=1".
        cost: What it costs, a sentence.
        estimate: With this change and those before it.
    """

    assignments: tuple[str, ...]
    cost: str
    estimate: Estimate


def suggest(estimate: Estimate, free_bytes: int) -> list[Change]:
    """Returns changes that together make a run fit, the least painful first.

    Each one builds on those before it. The list ends at the first that fits; where none does, the
    last one still says how much is missing. It is empty where the run fits as it is.

    Raises:
        EstimateError: a change's memory cannot be told beforehand.
    """
    found: list[Change] = []
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
            found.append(Change(assignments, cost, changed))
            current = changed
    return found


def _list_candidates(estimate: Estimate) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields what can still be changed, in the order in which one would."""
    config, device = estimate.config, estimate.device
    if not config.train.offload and not device.shares_memory:
        yield ("train.offload=true",), "Text encoders and VAE are moved when they are needed."
    if not config.train.gradient_checkpointing and estimate.peak.name == "training step":
        yield ("train.gradient_checkpointing=true",), "A step takes about a third longer."
    if device.precision == "fp32" and device.kind == "cuda":
        yield ("base_model.precision=auto",), "The base model is held in 16 bits."
    if config.train.batch_size > 1:
        more = config.train.batch_size * config.train.accumulate
        yield (
            ("train.batch_size=1", f"train.accumulate={min(more, 256)}"),
            "The same images per update, shown one after the other, which takes longer.",
        )
    if estimate.peak.name == "drawing samples":
        yield ("samples.every_steps=0",), "No samples are drawn while the run learns."
    if config.base_model.quantize == "none":
        yield (
            ("base_model.quantize=nf4",),
            "The UNet is held in 4 bits: slower, a little less exact, and it needs bitsandbytes.",
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
