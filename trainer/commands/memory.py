"""Memory: an estimate before a run starts, and a measurement of two steps."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from trainer.commands.checks import describe_warnings, describe_waste
from trainer.commands.libraries import quiet_model_libraries
from trainer.commands.start_file import check_start_file
from trainer.commands.training import OUT_OF_MEMORY
from trainer.config import RunConfig, check_settings, parse_assignment
from trainer.device_kinds import DEVICE_KINDS, check_device_settings, find_kind
from trainer.memory import (
    Change,
    Estimate,
    EstimateError,
    MemoryPlan,
    describe_settings,
    estimate_memory,
    format_bytes,
    plan_memory,
    probe_memory,
    read_free_bytes,
    suggest,
)
from trainer.models import check_config
from trainer.runs import RunError
from trainer.runs.base_models import locate_base_model


@dataclass(frozen=True)
class MemoryReport:
    """The memory of a run, and settings that make it fit.

    Attributes:
        estimate: The run as it stands.
        free_bytes: Free memory of the device; 0 where unknown.
        plan: What the run will set by itself at its start, where that makes it fit.
        changes: Other settings that make it fit, each on top of those before it.
        warnings: What else a person should know before the start.
    """

    estimate: Estimate
    free_bytes: int
    plan: MemoryPlan | None = None
    changes: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether it fits, with its plan if need be, or the free memory is unknown."""
        as_it_stands = self.estimate.total_bytes <= self.free_bytes
        return not self.free_bytes or as_it_stands or self.plan is not None

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields, for JSON."""
        return {
            "device": f"{self.estimate.device.kind} in {self.estimate.device.precision}",
            "phases": [asdict(phase) for phase in self.estimate.phases],
            "peak_bytes": self.estimate.peak.peak_bytes,
            "needed_bytes": self.estimate.total_bytes,
            "free_bytes": self.free_bytes,
            "fits": self.fits,
            "plan": self._describe_plan(),
            "warnings": self.warnings,
            "suggestions": [self._describe(change) for change in self.changes],
        }

    def to_text(self) -> str:
        """Returns the tables as text."""
        return "\n".join([*self._describe_phases(), *self._describe_fit(), *self.warnings])

    def _describe_plan(self) -> dict[str, Any] | None:
        if self.plan is None:
            return None
        return {
            "settings": dict(self.plan.settings),
            "costs": list(self.plan.costs),
            "needed_bytes": self.plan.estimate.total_bytes,
        }

    def _describe(self, change: Change) -> dict[str, Any]:
        needed = change.estimate.total_bytes
        return {
            "settings": dict(_read_assignment(text) for text in change.assignments),
            "cost": change.cost,
            "peak_bytes": change.estimate.peak.peak_bytes,
            "needed_bytes": needed,
            "fits": needed <= self.free_bytes,
        }

    def _describe_phases(self) -> Iterator[str]:
        estimate = self.estimate
        yield f"On {estimate.device.kind} in {estimate.device.precision}, at the peak of each part:"
        for phase in estimate.phases:
            yield _row(phase.name, phase.peak_bytes)
        yield "Of the training step:"
        yield _row("base model", estimate.base_model_bytes)
        yield _row("adapter, gradients", 2 * estimate.adapter_bytes)
        yield _row("optimiser", estimate.optimizer_bytes)
        yield _row("everything else", estimate.activation_bytes)

    def _describe_fit(self) -> Iterator[str]:
        needed = format_bytes(self.estimate.total_bytes)
        allowance = format_bytes(self.estimate.allowance_bytes)
        yield f"It needs {needed}, with {allowance} for drivers, libraries and fragmentation."
        if not self.free_bytes:
            yield "This device is not available: give its free memory with --free to check the fit."
            return
        free = format_bytes(self.free_bytes)
        if self.plan is not None:
            planned = format_bytes(self.plan.estimate.total_bytes)
            yield f"{free} are free, so a run sets at its start (train.memory), the fastest first:"
            yield f"  {describe_settings(self.plan.settings)}  -> {planned}. "
            yield f"  {' '.join(self.plan.costs)}"
            return
        yield f"It fits: {free} are free." if self.fits else f"It does not fit: {free} are free."
        if self.changes:
            yield "Settings that reduce it, one on top of the other:"
        for change in self.changes:
            options = " ".join(f"--set {text}" for text in change.assignments)
            yield f"  {options}  -> {format_bytes(change.estimate.total_bytes)}. {change.cost}"
        if not self.fits and not (
            self.changes and self.changes[-1].estimate.total_bytes <= self.free_bytes
        ):
            yield "No settings of the run make it fit: free some memory, or use a smaller model."


def estimate_run(
    config: RunConfig, models: Path, device: str = "", free_bytes: int = 0
) -> MemoryReport:
    """Estimates the memory of a run; loads no weights.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models, for a hub id.
        device: "cpu", "cuda" or "mps", present or not; empty takes the config's.
        free_bytes: Free memory; 0 reads it from the device.

    Raises:
        ConfigError, ModelError, DatasetError, RunError: the run could not start either, or its
            memory cannot be estimated.
    """
    quiet_model_libraries()
    check_settings(config)  # before the simulation, which takes seconds
    check_device_settings(config, device)
    try:
        estimate = estimate_memory(config, models, device)
        if not free_bytes and _is_available(estimate.device.kind):
            free_bytes = read_free_bytes(config, estimate.device)
        plan, changes = _find_ways(estimate, free_bytes) if free_bytes else (None, [])
    except EstimateError as error:
        raise RunError(str(error)) from error
    info = check_config(locate_base_model(config.base_model, models))
    warnings = [
        *describe_waste(config, estimate.examples, info),
        *check_start_file(config, info),
        *describe_warnings(config, info),
    ]
    return MemoryReport(estimate, free_bytes, plan, changes, warnings)


def _find_ways(estimate: Estimate, free_bytes: int) -> tuple[MemoryPlan | None, list[Change]]:
    """Returns the plan that makes a run fit; else all that may be changed, beginning with it."""
    plan = plan_memory(estimate, free_bytes)
    if not plan.settings:
        return None, suggest(estimate, free_bytes)
    if plan.fits:
        return plan, []
    assignments = tuple(
        f"{path}={str(value).lower() if isinstance(value, bool) else value}"
        for path, value in plan.settings.items()
    )
    first = Change(assignments, " ".join(plan.costs), plan.estimate)
    return None, [first, *suggest(plan.estimate, free_bytes)]


def probe_run(config: RunConfig, models: Path) -> dict[str, Any]:
    """Trains two steps and returns device, peak_bytes, resident_bytes and seconds_per_step.

    Raises:
        ConfigError, ModelError, DatasetError, RunError: the run could not start either, or it does
            not fit.
    """
    quiet_model_libraries()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler prints when it starts and stops
    try:
        return asdict(probe_memory(config, models))
    except torch.OutOfMemoryError as error:
        raise RunError(OUT_OF_MEMORY) from error


def read_device_bytes() -> int:
    """Returns the whole memory of the GPU; 0 where there is none."""
    kind = find_kind("auto")
    return 0 if kind == "cpu" else DEVICE_KINDS[kind].total_bytes()


def _is_available(kind: str) -> bool:
    return DEVICE_KINDS[kind].is_available()


def _read_assignment(text: str) -> tuple[str, Any]:
    """Returns the dotted name and the value of `a.b=value`."""
    name, value = text.partition("=")[0], parse_assignment(text)
    for key in name.split("."):
        value = value[key]
    return name, value


def _row(name: str, size: int) -> str:
    return f"  {name:22}  {format_bytes(size):>8}"
