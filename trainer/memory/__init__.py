"""How much memory a run takes: estimated from shapes before it starts, or measured in two steps.

The estimate simulates a run on fake tensors, with the same code that a run uses; it is independent
of model families and adapter kinds.
"""

from trainer.memory.changes import Change, suggest
from trainer.memory.estimate import Estimate, EstimateError, estimate_memory, read_free_bytes
from trainer.memory.fitting import (
    describe_settings,
    explain_plan,
    format_bytes,
    plan_run,
    warn_of_shortage,
)
from trainer.memory.planning import MemoryPlan, plan_memory
from trainer.memory.probe import Probe, probe_memory
from trainer.memory.simulation import Phase

__all__ = [
    "Change",
    "Estimate",
    "EstimateError",
    "MemoryPlan",
    "Phase",
    "Probe",
    "describe_settings",
    "estimate_memory",
    "explain_plan",
    "format_bytes",
    "plan_memory",
    "plan_run",
    "probe_memory",
    "read_free_bytes",
    "suggest",
    "warn_of_shortage",
]
