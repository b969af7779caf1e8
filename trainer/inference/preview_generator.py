"""The images of the app's previews: one base model stays loaded, adapters come and go."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from datasets_tools.buckets import make_buckets, place_image
from trainer.adapters import AdapterSet
from trainer.config import BaseModelConfig
from trainer.device import DeviceContext, open_device_context
from trainer.export import ExportError
from trainer.inference.latent_preview import LatentPreview, fit_preview
from trainer.inference.sampling import generate, weighted
from trainer.models import Family, load_family
from trainer.models.family import GenerationRequest
from trainer.runs import AdapterChoice, PreviewProgress, PreviewRequest
from trainer.runs.base_models import locate_base_model
from trainer.training.attach import attach_checkpoint, attach_file

_CACHED_IMAGES = 16
_MAX_ASPECT = 4.0

# Hears of each step, with a function that makes a small image of how far it is. What it
# raises ends the generating.
Report = Callable[[PreviewProgress, Callable[[], Image.Image]], None]


@dataclass
class _Loaded:
    """A base model with the adapters that were asked for so far."""

    config: BaseModelConfig
    family: Family
    context: DeviceContext
    latent_preview: LatentPreview
    adapters: dict[tuple[str, float], AdapterSet]  # by path and time of change


@dataclass(frozen=True)
class PreviewImage:
    """An image with the adapters, or the one without them."""

    image: Image.Image
    request: GenerationRequest
    is_plain: bool = False


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
        """The usual sampler of the loaded base model; "" before one is loaded."""
        return self._loaded.family.sampler if self._loaded else ""

    def generate(
        self, preview: PreviewRequest, report: Report | None = None
    ) -> Iterator[PreviewImage]:
        """Yields the images with the adapters, then the one without, from the noise of the first.

        Raises:
            ModelError, ExportError, RunError: with what to do.
        """
        loaded = self._load_base(preview.base_model)
        requests = _list_requests(loaded.family, preview)
        count = len(requests) + (requests[0] not in self._plain)

        def render(request: GenerationRequest, number: int) -> Image.Image:
            return _generate(loaded, request, report, (number, count))

        with self._weigh(loaded, preview) as every:
            for number, request in enumerate(requests, 1):
                yield PreviewImage(render(request, number), request)
            for adapter in every:
                adapter.set_multiplier(0.0)
            if requests[0] not in self._plain:
                image = render(requests[0], count)
                if len(self._plain) >= _CACHED_IMAGES:
                    self._plain.pop(next(iter(self._plain)))
                self._plain[requests[0]] = image
        yield PreviewImage(self._plain[requests[0]], requests[0], is_plain=True)

    def generate_one(self, preview: PreviewRequest) -> PreviewImage:
        """Returns the first image with the adapters, alone.

        Raises:
            ModelError, ExportError, RunError: with what to do.
        """
        loaded = self._load_base(preview.base_model)
        request = _list_requests(loaded.family, preview)[0]
        with self._weigh(loaded, preview):
            return PreviewImage(generate(loaded.family, loaded.context, request), request)

    @contextlib.contextmanager
    def _weigh(self, loaded: _Loaded, preview: PreviewRequest) -> Iterator[list[AdapterSet]]:
        """Has the chosen adapters count as asked for; yields all that are loaded."""
        chosen = self._choose_adapters(loaded, preview)
        every = list(loaded.adapters.values())
        with weighted(every, [0.0] * len(every)):
            for adapter, choice in chosen:
                adapter.set_multiplier(choice.weight, choice.text_weight)
            yield every

    def _load_base(self, config: BaseModelConfig) -> _Loaded:
        if self._loaded is None or self._loaded.config != config:
            self._loaded = None  # let the old one go before the new one comes
            self._plain.clear()
            context = open_device_context(precision=config.precision)
            base = locate_base_model(config, self._models)
            family = load_family(base, context.device, context.dtype)
            self._loaded = _Loaded(config, family, context, fit_preview(family), {})
            self.base_loads += 1
        return self._loaded

    def _choose_adapters(
        self, loaded: _Loaded, preview: PreviewRequest
    ) -> list[tuple[AdapterSet, AdapterChoice]]:
        chosen = []
        for choice in preview.adapters:
            path = Path(choice.path)
            if not path.is_file():
                msg = f"The LoRA file {path.name} does not exist any more. Choose another."
                raise ExportError(msg)
            key = (choice.path, path.stat().st_mtime)
            if key not in loaded.adapters:
                loaded.adapters[key] = _attach(loaded, path)
            chosen.append((loaded.adapters[key], choice))
        used = {id(adapter) for adapter, _ in chosen}
        for key, adapter in list(loaded.adapters.items()):
            if id(adapter) not in used:
                adapter.remove()
                del loaded.adapters[key]
        return chosen


def choose_size(aspect: str, side: int, step: int) -> tuple[int, int]:
    """Returns width and height of the bucket for an aspect ratio, in pixels.

    Args:
        aspect: Width by height, as "3:2"; "" is the square.
        side: Of the square image that the base model was made for.
        step: Sides are multiples of it.
    """
    if not aspect:
        return side, side
    width, height = (int(each) for each in aspect.split(":"))
    buckets = make_buckets(side, step, _MAX_ASPECT)
    bucket = place_image(width * side, height * side, buckets, step, max_upscale=1.0).bucket
    return bucket.width, bucket.height


def _list_requests(family: Family, preview: PreviewRequest) -> list[GenerationRequest]:
    """Returns one request per image; the seed counts up."""
    width, height = preview.width, preview.height
    if preview.aspect and not width and not height:
        side, step = family.default_resolution, family.size_step
        width, height = choose_size(preview.aspect, side, step)
    first = GenerationRequest(
        preview.prompt,
        preview.negative_prompt,
        preview.seed,
        preview.inference_steps,
        preview.guidance,
        width,
        height,
        preview.sampler,
    )
    return [replace(first, seed=preview.seed + number) for number in range(preview.count)]


def _generate(
    loaded: _Loaded, request: GenerationRequest, report: Report | None, place: tuple[int, int]
) -> Image.Image:
    if report is None:
        return generate(loaded.family, loaded.context, request)
    number, count = place
    return generate(
        loaded.family,
        loaded.context,
        request,
        lambda step, steps, latents: report(
            PreviewProgress(step, steps, number, count),
            lambda: loaded.latent_preview.render(latents[0]),
        ),
    )


def _attach(loaded: _Loaded, path: Path) -> AdapterSet:
    """A file in a checkpoint's folder is in our own layout, any other one is a LoRA file."""
    if (path.parent / "meta.json").is_file():
        return attach_checkpoint(loaded.family, path.parent, loaded.context.device)
    return attach_file(loaded.family, path, loaded.context.device)
