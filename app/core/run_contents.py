"""What a run holds: losses, samples, config; and the size that a base model was made for."""

import bisect
import re
import threading
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from app.core.run_views import read_samples
from datasets_tools.bounded_json import read_table
from trainer.config import ConfigError, RunConfig
from trainer.formats.families import FAMILIES, SD15
from trainer.runs import EventReader, RunFolder
from trainer.runs.events import Event

MAX_POINTS = 500
_SMOOTHING = 0.9
_MAX_HISTORIES = 16
_SAMPLE_FILE = re.compile(r"samples/step-(\d{6,})/(\d{2,})\.png")
OPENED = "opened"  # what stands for a preset while the form shows the settings of a file


@dataclass(frozen=True)
class LossPoint:
    """One point of the chart."""

    step: int
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Sample:
    """One cell of the sample grid; `version` changes when the file does."""

    step: int
    index: int
    prompt: str
    seed: int
    version: int


@dataclass(frozen=True)
class SampleGrid:
    """Samples as rows of steps, oldest first, and columns of prompts."""

    prompts: tuple[str, ...]
    rows: tuple[tuple[int, tuple[Sample | None, ...]], ...]


@dataclass
class _History:
    """What the chart needs of a run's events: 16 bytes a step."""

    reader: EventReader
    identity: tuple[int, int]
    steps: "array[int]" = field(default_factory=lambda: array("q"))
    losses: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, event: Event) -> None:
        """Takes one more event into account."""
        if event["event"] == "started":
            # A run that continues from a checkpoint trains the steps behind it a second time.
            self._forget_from(event.get("from_step", 0) + 1)
        elif event["event"] == "step" and event.get("loss") is not None and "step" in event:
            self._forget_from(event["step"])
            self.steps.append(event["step"])
            self.losses.append(event["loss"])

    def _forget_from(self, step: int) -> None:
        place = bisect.bisect_left(self.steps, step)
        del self.steps[place:], self.losses[place:]


_histories: OrderedDict[Path, _History] = OrderedDict()
_lock = threading.Lock()


def _read_history(run: RunFolder) -> _History:
    """Returns a run's history; those of the last runs that were shown stay."""
    path = run.events_path
    try:
        facts = path.stat()
        identity = (facts.st_dev, facts.st_ino)
        with _lock:
            known = _histories.get(path)
            if known is None or known.identity != identity or facts.st_size < known.reader.offset:
                known = _histories[path] = _History(EventReader(path), identity)
            for event in known.reader.read_some():
                known.add(event)
            _histories.move_to_end(path)
            while len(_histories) > _MAX_HISTORIES:
                _histories.popitem(last=False)
            return known
    except OSError:
        return _History(EventReader(path), (0, 0))


def view_losses(run: RunFolder, limit: int = MAX_POINTS) -> list[LossPoint]:
    """Returns the loss over the run, raw and smoothed, as at most `limit` points."""
    history = _read_history(run)
    points, average, weight = [], 0.0, 0.0
    for step, loss in zip(history.steps, history.losses, strict=True):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        points.append(LossPoint(step, loss, average / weight))
    return _sample_evenly(points, limit)


def view_samples(run: RunFolder) -> SampleGrid:
    """Returns the samples whose files exist."""
    samples: dict[tuple[int, int], Sample] = {}
    for event in read_samples(run):
        sample = _read_sample(run, event)
        if sample is not None:
            samples[sample.step, sample.index] = sample
    # A prompt that was changed while the run learned has a column of its own.
    columns = sorted({(each.index, each.prompt): None for each in samples.values()}, key=_get_index)
    cells = {(each.step, each.index, each.prompt): each for each in samples.values()}
    rows = [
        (step, tuple(cells.get((step, *column)) for column in columns))
        for step in sorted({step for step, _ in samples})
    ]
    return SampleGrid(tuple(prompt for _, prompt in columns), tuple(rows))


def _get_index(column: tuple[int, str]) -> int:
    return column[0]


def sample_path(run: RunFolder, step: int, index: int) -> Path:
    """Returns where a sample of a run lies."""
    return run.samples_path / f"step-{step:06d}" / f"{index:02d}.png"


def sample_url(run_id: str, sample: Sample) -> str:
    """Returns the address of a sample; it changes when the file does."""
    run = quote(run_id, safe="")
    return f"media/sample/{run}/{sample.step}/{sample.index}?v={sample.version}"


def read_resolution(base_model: Path | None, family: str = "") -> int:
    """Returns the side of the images that a base model was made for: its own config's, or usual."""
    usual = FAMILIES.get(family, SD15).resolution  # single files carry no config
    if base_model is None:
        return usual
    try:
        unet = read_table(base_model / "unet" / "config.json")
        vae = read_table(base_model / "vae" / "config.json")
        halvings = len(vae["block_out_channels"]) - 1
        return int(unet["sample_size"]) << min(halvings, 8)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return usual


def read_run_config(run: RunFolder) -> RunConfig | None:
    """Returns the run's config; None when it cannot be read any more."""
    try:
        return run.config
    except ConfigError:
        return None


def _sample_evenly(points: list[LossPoint], limit: int) -> list[LossPoint]:
    if len(points) <= limit:
        return points
    # Evenly, and always with the last point, which is the one a person looks for.
    last = len(points) - 1
    return [points[round(index * last / (limit - 1))] for index in range(limit)]


def _read_sample(run: RunFolder, event: Event) -> Sample | None:
    match = _SAMPLE_FILE.fullmatch(str(event.get("file", "")).replace("\\", "/"))
    if match is None:
        return None
    step, index = int(match[1]), int(match[2])
    try:
        version = sample_path(run, step, index).stat().st_mtime_ns // 1_000_000
    except OSError:
        return None
    prompt, seed = str(event.get("prompt", "")), int(event.get("seed", 0))
    return Sample(step, index, prompt, seed, version)
