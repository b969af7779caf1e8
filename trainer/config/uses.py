"""Settings that have no effect beside certain values of others."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from trainer.config.errors import Problem
from trainer.config.run import RunConfig


@dataclass(frozen=True)
class _Use:
    """A setting that only matters beside certain values of another one.

    Attributes:
        path: The setting.
        other: The other one.
        values: Those beside which it matters.
    """

    path: str
    other: str
    values: tuple[str, ...]


_USES = (
    _Use("optimizer.restarts", "optimizer.schedule", ("cosine_restarts",)),
    _Use("optimizer.decay_share", "optimizer.schedule", ("stable_decay",)),
    _Use("objective.min_snr_gamma", "objective.weighting", ("min_snr", "soft_min_snr")),
    _Use("objective.huber_c", "objective.loss", ("huber", "smooth_l1")),
    _Use("objective.huber_schedule", "objective.loss", ("huber", "smooth_l1")),
    _Use("objective.unmasked_weight", "dataset.masks", ("folder", "alpha")),
    _Use("objective.prior_weight", "objective.prior", ("teacher", "images")),
    _Use("dataset.prior_path", "objective.prior", ("images",)),
    _Use("adapter.dora_axis", "adapter.kind", ("dora",)),
    _Use("adapter.lokr_factor", "adapter.kind", ("lokr",)),
)


def check_uses(config: RunConfig) -> Iterator[Problem]:
    """Yields the settings that have no effect beside the values of others."""
    for use in _USES:
        value, other = get_setting(config, use.path), get_setting(config, use.other)
        if other in use.values or value == get_default(use.path):
            continue
        yield Problem(
            use.path,
            f"is {value} and has no effect while {use.other} is {other}: set {use.other} to "
            f"{' or '.join(use.values)}, or leave {use.path} out",
        )


def get_setting(config: RunConfig, path: str) -> Any:
    """Returns a setting by its path, such as `adapter.rank`."""
    return reduce(getattr, path.split("."), config)


def get_default(path: str) -> Any:
    """Returns the default of a setting by its path."""
    return get_setting(RunConfig(), path)
