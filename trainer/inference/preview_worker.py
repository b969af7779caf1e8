"""The preview worker: keeps one base model loaded and answers the app's requests."""

import io
import json
import time
from collections.abc import Callable, Mapping

from PIL import Image

from datasets_tools.disk import remove_file
from datasets_tools.errors import LorasmithError
from datasets_tools.files import write_atomically
from trainer.inference.preview_generator import PreviewGenerator, PreviewImage
from trainer.inference.sampling import save_image
from trainer.runs import (
    PreviewFolder,
    PreviewProgress,
    PreviewRequest,
    read_requests,
)
from trainer.runs.previews import is_cancelled, is_superseded, list_requests, write_progress

_POLL_SECONDS = 0.05
_IMAGE_SECONDS = 0.15  # between two of an image that is on its way
_SUPERSEDED = "A newer request took the place of this one."


class _LeftError(LorasmithError):
    """A request is left before its end, because it was cancelled or there is a newer one."""

    def __init__(self, answer: Mapping[str, object]) -> None:
        super().__init__("a preview was left")
        self.answer = answer


def serve(folder: PreviewFolder, idle_seconds: float) -> bool:
    """Answers requests, the newest first, until none came for a while or a stop is asked for.

    A training needs the device's memory, so the app stops the worker before a training.

    Returns:
        Whether a stop was asked for.
    """
    generator, last = PreviewGenerator(folder.path.resolve().parent / "models"), time.monotonic()
    while "stop" not in read_requests(folder.path):
        waiting = list_requests(folder)
        if waiting:
            for request_id, _ in waiting[:-1]:
                _answer(folder, request_id, {"error": _SUPERSEDED})
            request_id, preview = waiting[-1]
            _Generation(generator, folder, request_id).run(preview)
            last = time.monotonic()
        elif time.monotonic() - last >= idle_seconds:
            return False
        else:
            time.sleep(_POLL_SECONDS)
    return True


class _Generation:
    """One request, from its first step to its answer."""

    def __init__(self, generator: PreviewGenerator, folder: PreviewFolder, request_id: str) -> None:
        self._generator, self._folder, self._id = generator, folder, request_id
        self._result = folder.results_path / request_id
        self._last_image = float("-inf")

    def run(self, preview: PreviewRequest) -> None:
        """Generates the images and answers."""
        start = time.monotonic()
        try:
            self._check()
            self._result.mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(self._generator.generate(preview, self._report), 1):
                self._save(image, number, preview)
        except _LeftError as left:
            _answer(self._folder, self._id, left.answer)
        except (LorasmithError, OSError, ValueError) as error:
            _answer(self._folder, self._id, {"error": str(error)})
        else:
            seconds = round(time.monotonic() - start, 3)
            loads, images = self._generator.base_loads, preview.count
            answer = {"seconds": seconds, "base_loads": loads, "images": images}
            _answer(self._folder, self._id, answer)

    def _check(self) -> None:
        if is_cancelled(self._folder, self._id):
            raise _LeftError({"cancelled": True})
        if is_superseded(self._folder, self._id):
            raise _LeftError({"error": _SUPERSEDED})

    def _report(self, progress: PreviewProgress, render: Callable[[], Image.Image]) -> None:
        """Comes before each step: the last moment to leave the request without taking it."""
        self._check()
        now, content = time.monotonic(), b""
        if now - self._last_image >= _IMAGE_SECONDS:
            encoded = io.BytesIO()
            render().save(encoded, format="PNG")
            content, self._last_image = encoded.getvalue(), now
        write_progress(self._folder, self._id, progress, content)

    def _save(self, image: PreviewImage, number: int, preview: PreviewRequest) -> None:
        weight = preview.adapters[0].weight if preview.adapters and not image.is_plain else 0.0
        name = "without.png" if image.is_plain else name_image(number)
        save_image(self._result / name, image.image, image.request, weight, self._generator.sampler)


def name_image(number: int) -> str:
    """Returns the file of an image with the adapters, counted from 1."""
    return "with.png" if number == 1 else f"with-{number}.png"


def _answer(folder: PreviewFolder, request_id: str, data: Mapping[str, object]) -> None:
    result = folder.results_path / request_id
    result.mkdir(parents=True, exist_ok=True)
    write_atomically(result / "result.json", json.dumps(dict(data)))
    remove_file(folder.requests_path / f"{request_id}.json", missing_ok=True)
