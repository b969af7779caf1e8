"""The preview worker: keeps one base model loaded and draws what the app asks for."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets_tools.errors import LorasmithError
from datasets_tools.files import write_atomically
from trainer.adapters import AdapterSet
from trainer.config import BaseModelConfig
from trainer.device import Machine, open_machine
from trainer.export import ExportError
from trainer.inference.sampling import draw, save_image, weighted
from trainer.models import Family, load_family
from trainer.models.family import Drawing
from trainer.runs import (
    PreviewFolder,
    PreviewRequest,
    clear_requests,
    read_requests,
)
from trainer.runs.base_models import locate_base_model
from trainer.runs.previews import list_requests
from trainer.training.attach import attach_checkpoint, attach_file

_POLL_SECONDS = 0.1
_CACHED_IMAGES = 16


@dataclass
class _Loaded:
    """A base model with the adapters that were asked for so far."""

    config: BaseModelConfig
    family: Family
    machine: Machine
    adapters: dict[tuple[str, float], AdapterSet]  # by path and time of change


class Studio:
    """Draws previews. The base model stays loaded; a weight is only a multiplier.

    Args:
        models: The workspace's folder of base models, for hub ids.
    """

    def __init__(self, models: Path) -> None:
        self._models = models
        self._loaded: _Loaded | None = None
        self._plain: dict[Drawing, Image.Image] = {}
        self.base_loads = 0

    def draw_pair(self, wanted: PreviewRequest) -> tuple[Image.Image, Image.Image, Drawing]:
        """Returns the images without and with the adapters, from the same noise.

        Raises:
            ModelError, ExportError, RunError: with what to do.
        """
        loaded = self._load_base(wanted.base_model)
        chosen = self._choose_adapters(loaded, wanted)
        drawing = Drawing(
            wanted.prompt,
            wanted.negative_prompt,
            wanted.seed,
            wanted.inference_steps,
            wanted.guidance,
            wanted.width,
            wanted.height,
        )
        every = list(loaded.adapters.values())
        with weighted(every, [0.0] * len(every)):
            if drawing not in self._plain:
                if len(self._plain) >= _CACHED_IMAGES:
                    self._plain.pop(next(iter(self._plain)))
                self._plain[drawing] = draw(loaded.family, loaded.machine, drawing)
            for adapter, weight in chosen:
                adapter.set_multiplier(weight)
            changed = draw(loaded.family, loaded.machine, drawing)
        return self._plain[drawing], changed, drawing

    def _load_base(self, config: BaseModelConfig) -> _Loaded:
        if self._loaded is None or self._loaded.config != config:
            self._loaded = None  # let the old one go before the new one comes
            self._plain.clear()
            machine = open_machine(precision=config.precision)
            base = locate_base_model(config, self._models)
            family = load_family(base, machine.device, machine.dtype)
            self._loaded = _Loaded(config, family, machine, {})
            self.base_loads += 1
        return self._loaded

    def _choose_adapters(
        self, loaded: _Loaded, wanted: PreviewRequest
    ) -> list[tuple[AdapterSet, float]]:
        chosen = []
        for choice in wanted.adapters:
            path = Path(choice.path)
            if not path.is_file():
                msg = f"There is no LoRA file {path.name} any more. Choose another."
                raise ExportError(msg)
            key = (choice.path, path.stat().st_mtime)
            if key not in loaded.adapters:
                loaded.adapters[key] = _attach(loaded, path)
            chosen.append((loaded.adapters[key], choice.weight))
        used = {id(adapter) for adapter, _ in chosen}
        for key, adapter in list(loaded.adapters.items()):
            if id(adapter) not in used:
                adapter.remove()
                del loaded.adapters[key]
        return chosen


def _attach(loaded: _Loaded, path: Path) -> AdapterSet:
    """A file in a checkpoint's folder is in our own layout, any other one is a LoRA file."""
    if (path.parent / "meta.json").is_file():
        return attach_checkpoint(loaded.family, path.parent, loaded.machine.device)
    return attach_file(loaded.family, path, loaded.machine.device)


def serve(folder: PreviewFolder, idle_seconds: float) -> None:
    """Answers requests, the newest first, until none came for a while or a stop is asked for.

    A training needs the device's memory, so whoever starts one asks the worker to stop.
    """
    studio, last = Studio(folder.path.resolve().parent / "models"), time.monotonic()
    clear_requests(folder.path)
    while time.monotonic() - last < idle_seconds and "stop" not in read_requests(folder.path):
        waiting = list_requests(folder)
        if not waiting:
            time.sleep(_POLL_SECONDS)
            continue
        for request_id, _ in waiting[:-1]:
            _answer(folder, request_id, {"error": "A newer request took the place of this one."})
        request_id, wanted = waiting[-1]
        _draw_one(studio, folder, request_id, wanted)
        last = time.monotonic()


def _draw_one(
    studio: Studio, folder: PreviewFolder, request_id: str, wanted: PreviewRequest
) -> None:
    start = time.monotonic()
    result = folder.results_path / request_id
    try:
        plain, changed, drawing = studio.draw_pair(wanted)
        result.mkdir(parents=True, exist_ok=True)
        save_image(result / "without.png", plain, drawing, 0.0)
        weight = wanted.adapters[0].weight if wanted.adapters else 0.0
        save_image(result / "with.png", changed, drawing, weight)
    except (LorasmithError, OSError, ValueError) as error:
        _answer(folder, request_id, {"error": str(error)})
        return
    seconds = round(time.monotonic() - start, 3)
    _answer(folder, request_id, {"seconds": seconds, "base_loads": studio.base_loads})


def _answer(folder: PreviewFolder, request_id: str, data: dict[str, object]) -> None:
    result = folder.results_path / request_id
    result.mkdir(parents=True, exist_ok=True)
    write_atomically(result / "result.json", json.dumps(data))
    (folder.requests_path / f"{request_id}.json").unlink(missing_ok=True)
