"""The preview worker: keeps one base model loaded and generates the app's previews."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets_tools.disk import remove_file
from datasets_tools.errors import LorasmithError
from datasets_tools.files import write_atomically
from trainer.adapters import AdapterSet
from trainer.config import BaseModelConfig
from trainer.device import DeviceContext, open_device_context
from trainer.export import ExportError
from trainer.inference.sampling import generate, save_image, weighted
from trainer.models import Family, load_family
from trainer.models.family import GenerationRequest
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
    context: DeviceContext
    adapters: dict[tuple[str, float], AdapterSet]  # by path and time of change


class PreviewGenerator:
    """Generates previews. The base model stays loaded; a weight is only a multiplier.

    Args:
        models: The workspace's folder of base models, for hub ids.
    """

    def __init__(self, models: Path) -> None:
        self._models = models
        self._loaded: _Loaded | None = None
        self._plain: dict[GenerationRequest, Image.Image] = {}
        self.base_loads = 0

    @property
    def sampler(self) -> str:
        """The sampler of the loaded base model; "" before one is loaded."""
        return self._loaded.family.sampler if self._loaded else ""

    def generate_pair(
        self, preview: PreviewRequest
    ) -> tuple[Image.Image, Image.Image, GenerationRequest]:
        """Returns the images without and with the adapters, from the same noise.

        Raises:
            ModelError, ExportError, RunError: with what to do.
        """
        loaded = self._load_base(preview.base_model)
        chosen = self._choose_adapters(loaded, preview)
        request = GenerationRequest(
            preview.prompt,
            preview.negative_prompt,
            preview.seed,
            preview.inference_steps,
            preview.guidance,
            preview.width,
            preview.height,
        )
        every = list(loaded.adapters.values())
        with weighted(every, [0.0] * len(every)):
            if request not in self._plain:
                if len(self._plain) >= _CACHED_IMAGES:
                    self._plain.pop(next(iter(self._plain)))
                self._plain[request] = generate(loaded.family, loaded.context, request)
            for adapter, weight in chosen:
                adapter.set_multiplier(weight)
            changed = generate(loaded.family, loaded.context, request)
        return self._plain[request], changed, request

    def _load_base(self, config: BaseModelConfig) -> _Loaded:
        if self._loaded is None or self._loaded.config != config:
            self._loaded = None  # let the old one go before the new one comes
            self._plain.clear()
            context = open_device_context(precision=config.precision)
            base = locate_base_model(config, self._models)
            family = load_family(base, context.device, context.dtype)
            self._loaded = _Loaded(config, family, context, {})
            self.base_loads += 1
        return self._loaded

    def _choose_adapters(
        self, loaded: _Loaded, preview: PreviewRequest
    ) -> list[tuple[AdapterSet, float]]:
        chosen = []
        for choice in preview.adapters:
            path = Path(choice.path)
            if not path.is_file():
                msg = f"The LoRA file {path.name} does not exist any more. Choose another."
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
        return attach_checkpoint(loaded.family, path.parent, loaded.context.device)
    return attach_file(loaded.family, path, loaded.context.device)


def serve(folder: PreviewFolder, idle_seconds: float) -> None:
    """Answers requests, the newest first, until none came for a while or a stop is asked for.

    A training needs the device's memory, so the app stops the worker before a training.
    """
    generator, last = PreviewGenerator(folder.path.resolve().parent / "models"), time.monotonic()
    clear_requests(folder.path)
    while time.monotonic() - last < idle_seconds and "stop" not in read_requests(folder.path):
        waiting = list_requests(folder)
        if not waiting:
            time.sleep(_POLL_SECONDS)
            continue
        for request_id, _ in waiting[:-1]:
            _answer(folder, request_id, {"error": "A newer request took the place of this one."})
        request_id, preview = waiting[-1]
        _generate(generator, folder, request_id, preview)
        last = time.monotonic()


def _generate(
    generator: PreviewGenerator, folder: PreviewFolder, request_id: str, preview: PreviewRequest
) -> None:
    start = time.monotonic()
    result = folder.results_path / request_id
    try:
        plain, changed, request = generator.generate_pair(preview)
        result.mkdir(parents=True, exist_ok=True)
        save_image(result / "without.png", plain, request, 0.0, generator.sampler)
        weight = preview.adapters[0].weight if preview.adapters else 0.0
        save_image(result / "with.png", changed, request, weight, generator.sampler)
    except (LorasmithError, OSError, ValueError) as error:
        _answer(folder, request_id, {"error": str(error)})
        return
    seconds = round(time.monotonic() - start, 3)
    _answer(folder, request_id, {"seconds": seconds, "base_loads": generator.base_loads})


def _answer(folder: PreviewFolder, request_id: str, data: dict[str, object]) -> None:
    result = folder.results_path / request_id
    result.mkdir(parents=True, exist_ok=True)
    write_atomically(result / "result.json", json.dumps(data))
    remove_file(folder.requests_path / f"{request_id}.json", missing_ok=True)
