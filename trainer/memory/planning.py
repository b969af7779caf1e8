"""The settings that a run needs on a device that is too small for it as it stands.

`ROWS` is the table of plans: each row adds a setting to those before it, the fastest first. A plan
is the first row with which the run fits the free memory. Rows that a person has decided on, by a
value other than the default, are left out, so that a plan never undoes a choice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.config import RunConfig, change_settings
from trainer.memory.estimate import Estimate, estimate_memory


@dataclass(frozen=True)
class Row:
    """A row of the table of plans.

    Attributes:
        settings: Values by path; the row is left out where the first is not at its default.
        cost: What it costs, a sentence.
        exact: Whether the result is the same but for rounding.
        kinds: Of devices that it is for.
    """

    settings: Mapping[str, bool | int | float | str]
    cost: str
    exact: bool = True
    kinds: tuple[str, ...] = ("cuda", "mps")


ROWS = (
    Row({"train.recompute": "activations"}, "A step takes a few per cent longer."),
    Row({"train.recompute": "feed_forward"}, "A step takes some 12 % longer."),
    Row(
        {"train.gradient_checkpointing": True, "train.checkpointing_fraction": 0.5},
        "Half of the blocks are computed twice: a step takes some 20 % longer.",
    ),
    Row(
        {"train.gradient_checkpointing": True, "train.checkpointing_fraction": 1.0},
        "All blocks are computed twice: a step takes about a third longer.",
    ),
    Row({"train.micro_batch": 1}, "The images of a batch are computed one after the other."),
    Row(
        {"base_model.quantize": "fp8"},
        "The UNet is stored in 8 bits: a little slower and a little less exact.",
        exact=False,
        kinds=("cuda",),
    ),
    Row(
        {"base_model.quantize": "int8"},
        "The UNet is stored in 8 bits: a little slower and a little less exact.",
        exact=False,
        kinds=("mps",),
    ),
    Row(
        {"base_model.offload_fraction": 0.5},
        "Half of the UNet's blocks are copied to the GPU whenever they are used.",
        kinds=("cuda",),
    ),
    Row(
        {"base_model.offload_fraction": 1.0},
        "All of the UNet's blocks are copied to the GPU whenever they are used.",
        kinds=("cuda",),
    ),
)


@dataclass(frozen=True)
class MemoryPlan:
    """What a run sets so that it fits.

    Attributes:
        estimate: With the plan's settings.
        settings: What it sets, by path; empty where the run fits as it stands, or may not be
            changed.
        costs: What that costs, a sentence per row.
        needed_bytes: What had to be free without the plan.
        free_bytes: What is.
    """

    estimate: Estimate
    settings: Mapping[str, bool | int | float | str]
    costs: tuple[str, ...]
    needed_bytes: int
    free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the run fits with it."""
        return self.estimate.total_bytes <= self.free_bytes


def plan_memory(estimate: Estimate, free_bytes: int) -> MemoryPlan:
    """Returns the fastest plan that makes a run fit; the leanest where none does.

    Args:
        estimate: Of the run as it stands.
        free_bytes: Free memory of its device.

    Raises:
        EstimateError: a plan's memory cannot be estimated.
    """
    needed = estimate.total_bytes
    rows = [] if needed <= free_bytes else list_rows(estimate)
    if not rows:
        return MemoryPlan(estimate, {}, (), needed, free_bytes)

    def apply(count: int) -> MemoryPlan:
        """Returns the plan of the first rows."""
        chosen: dict[str, tuple[str, Any]] = {}
        for row in rows[:count]:
            chosen |= {path: (row.cost, value) for path, value in row.settings.items()}
        settings = {path: value for path, (_, value) in chosen.items()}
        costs = tuple(dict.fromkeys(cost for cost, _ in chosen.values()))
        changed = change_settings(estimate.config, settings)
        simulated = estimate_memory(
            changed, estimate.models, estimate.device.kind, estimate.examples
        )
        return MemoryPlan(simulated, settings, costs, needed, free_bytes)

    return _find_first(apply, len(rows))


def list_rows(estimate: Estimate) -> list[Row]:
    """Returns the rows that may be applied to a run."""
    config, kind = estimate.config, estimate.device.kind
    if config.train.memory == "off":
        return []
    return [
        row
        for row in ROWS
        if kind in row.kinds
        and (row.exact or config.train.memory == "auto")
        and _is_open(config, next(iter(row.settings)))
    ]


def _find_first(apply: Callable[[int], MemoryPlan], count: int) -> MemoryPlan:
    """Returns the plan of the fewest rows that fits, by bisection; that of all where none does."""
    best = apply(count)
    least, most = 1, count if best.fits else 1
    while least < most:
        middle = (least + most) // 2
        plan = apply(middle)
        if plan.fits:
            best, most = plan, middle
        else:
            least = middle + 1
    return best


def _is_open(config: RunConfig, path: str) -> bool:
    """Whether nobody has decided on a setting, and it can save anything."""
    if path == "train.micro_batch" and config.train.batch_size == 1:
        return False
    if path == "base_model.offload_fraction" and config.base_model.quantize == "nf4":
        return False
    section, _, name = path.partition(".")
    return bool(
        getattr(getattr(config, section), name) == getattr(getattr(RunConfig(), section), name)
    )
