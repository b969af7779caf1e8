"""What an estimate of the memory says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.jobs import Job
from app.train import memory_text as words
from trainer.config import ConfigError, read_config

CONFIG_FILE = "config.toml"  # what the settings are asked about in


@dataclass(frozen=True)
class MemoryChange:
    """A step towards fitting, on top of the steps before it.

    Attributes:
        settings: What this step sets, by path.
        all_settings: What it and those before it set.
        cost: What it costs, in a sentence.
        needed_bytes: What must be free with all of them.
    """

    settings: Mapping[str, Any]
    all_settings: Mapping[str, Any]
    cost: str
    needed_bytes: int


@dataclass(frozen=True)
class MemoryView:
    """What a run would take, phase by phase, and what the device has.

    Attributes:
        phases: Name and bytes, in the order of a run.
        needed_bytes: What must be free: the peak, and what driver and libraries take besides.
        device: Its kind and number format.
        free_bytes: What is free there; 0 where that is not known.
        fits: Whether there is room, as far as one knows.
        changes: What would make it fit, each on top of those before it.
    """

    phases: tuple[tuple[str, int], ...]
    needed_bytes: int
    device: str
    free_bytes: int
    fits: bool
    changes: tuple[MemoryChange, ...]

    @property
    def allowance_bytes(self) -> int:
        """What driver and libraries take besides the peak."""
        return self.needed_bytes - max((size for _, size in self.phases), default=0)


def view_memory(job: Job) -> MemoryView | None:
    """Returns what an estimate says; None before it is there."""
    told = job.answer
    if job.state != "done" or not isinstance(told, dict):
        return None
    return MemoryView(
        phases=tuple((str(one["name"]), int(one["peak_bytes"])) for one in told["phases"]),
        needed_bytes=int(told["needed_bytes"]),
        device=str(told["device"]),
        free_bytes=int(told["free_bytes"]),
        fits=bool(told["fits"]),
        changes=tuple(_list_changes(told["suggestions"])),
    )


def describe_settings(job: Job) -> str:
    """Returns the settings that an estimate was made for and that memory depends on most."""
    try:
        config = read_config(job.path / CONFIG_FILE)
    except ConfigError:
        return ""
    return words.made_for(
        {
            "train.batch_size": config.train.batch_size,
            "dataset.resolution": config.dataset.resolution,
            "train.gradient_checkpointing": config.train.gradient_checkpointing,
            "adapter.rank": config.adapter.rank,
            "adapter.text_rank": config.adapter.text_rank,
        }
    )


def _list_changes(told: list[dict[str, Any]]) -> Iterator[MemoryChange]:
    settings: dict[str, Any] = {}
    for one in told:
        settings |= one["settings"]
        cost, needed = str(one["cost"]), int(one["needed_bytes"])
        yield MemoryChange(dict(one["settings"]), dict(settings), cost, needed)
