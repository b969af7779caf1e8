"""How the app asks the preview worker for images: requests and results are files.

    preview/
      process.json            the worker, while it lives
      requests/ID.json        what to generate; deleted when done
      results/ID/             cancel (from the app), progress.png, progress.json (from the worker),
                              without.png, with.png, with-2.png … result.json (written last)

The worker keeps the base model loaded. Changing an adapter's weight only changes a multiplier.

No file is written by both sides, and each is written once or replaced as a whole. The newest
request counts: the worker leaves one as soon as there is a newer one, or a `cancel` in its own
folder, which it looks for before each step. A request that is answered stays as it was answered.
"""

import json
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from datasets_tools.bounded_json import read_table
from datasets_tools.disk import read_text, remove_quietly
from datasets_tools.files import write_atomically
from trainer.config import BaseModelConfig
from trainer.config.section import Section

PROGRESS_IMAGE = "progress.png"
_PROGRESS, _CANCEL = "progress.json", "cancel"
_PROGRESS_NAMES = ("step", "steps", "image", "images")


class AdapterChoice(Section):
    """An adapter file and its weight, on the text encoders another one where there is one."""

    path: str
    weight: float = Field(default=1.0, ge=-4, le=4)
    text_weight: float | None = Field(default=None, ge=-4, le=4)


class PreviewRequest(Section):
    """Images with the adapters, and one without from the noise of the first.

    The seed counts up from image to image. `aspect` is width by height, as "3:2", and takes the
    bucket of the base model's own size; it counts where width and height are 0.
    """

    base_model: BaseModelConfig
    prompt: str = Field(max_length=2000)
    negative_prompt: str = Field(default="", max_length=2000)
    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    inference_steps: int = Field(default=20, ge=1, le=200)
    guidance: float = Field(default=7.0, ge=1, le=30)
    width: int = Field(default=0, ge=0, le=4096)
    height: int = Field(default=0, ge=0, le=4096)
    aspect: str = Field(default="", pattern=r"^([1-9][0-9]?:[1-9][0-9]?)?$")
    sampler: str = Field(default="", max_length=40)
    count: int = Field(default=1, ge=1, le=8)
    adapters: tuple[AdapterChoice, ...] = ()


@dataclass(frozen=True)
class PreviewResult:
    """State of one request; `with_path` and `without_path` exist when state is done."""

    state: Literal["waiting", "done", "failed", "cancelled"]
    message: str = ""
    seconds: float = 0.0
    base_loads: int = 0
    without_path: Path | None = None
    with_path: Path | None = None
    images: int = 0


@dataclass(frozen=True)
class PreviewProgress:
    """How far a request is that is being generated.

    Attributes:
        step: The one that is taken, from 1.
        steps: Of one image.
        image: The one that is generated, from 1.
        images: How many there will be.
    """

    step: int
    steps: int
    image: int = 1
    images: int = 1


@dataclass(frozen=True)
class PreviewFolder:
    """Where the preview worker and the app meet."""

    path: Path

    @property
    def log_path(self) -> Path:
        """Everything the worker printed."""
        return self.path / "log.txt"

    @property
    def requests_path(self) -> Path:
        """Requests that wait."""
        return self.path / "requests"

    @property
    def results_path(self) -> Path:
        """Results by request id."""
        return self.path / "results"

    def prepare(self) -> None:
        """Makes the folders."""
        self.requests_path.mkdir(parents=True, exist_ok=True)
        self.results_path.mkdir(parents=True, exist_ok=True)


def request_preview(folder: PreviewFolder, request: PreviewRequest) -> str:
    """Files a request and returns its id; ids sort by time."""
    folder.prepare()
    request_id = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    write_atomically(folder.requests_path / f"{request_id}.json", request.model_dump_json())
    return request_id


def cancel_preview(folder: PreviewFolder, request_id: str) -> None:
    """Has a request end before its next step; one that is answered stays as it is."""
    place = folder.results_path / request_id
    place.mkdir(parents=True, exist_ok=True)
    (place / _CANCEL).touch()


def is_cancelled(folder: PreviewFolder, request_id: str) -> bool:
    """Returns whether a request was cancelled, answered or not."""
    return (folder.results_path / request_id / _CANCEL).exists()


def is_superseded(folder: PreviewFolder, request_id: str) -> bool:
    """Returns whether there is a newer request."""
    return any(path.stem > request_id for path in folder.requests_path.glob("[!.]*.json"))


def write_progress(
    folder: PreviewFolder, request_id: str, progress: PreviewProgress, encoded: bytes
) -> None:
    """Shows how far a request is; the image, a PNG, comes first."""
    place = folder.results_path / request_id
    place.mkdir(parents=True, exist_ok=True)
    if encoded:
        write_atomically(place / PROGRESS_IMAGE, encoded)
    write_atomically(place / _PROGRESS, json.dumps(asdict(progress)))


def read_progress(folder: PreviewFolder, request_id: str) -> PreviewProgress | None:
    """Returns how far a request is; None before its first step."""
    try:
        data = read_table(folder.results_path / request_id / _PROGRESS)
        return PreviewProgress(**{name: int(data[name]) for name in _PROGRESS_NAMES})
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def list_requests(folder: PreviewFolder) -> list[tuple[str, PreviewRequest]]:
    """Returns the waiting requests, oldest first; files that are not requests are removed."""
    requests = []
    for path in sorted(folder.requests_path.glob("[!.]*.json")):
        try:
            text = read_text(path)
            requests.append((path.stem, PreviewRequest.model_validate_json(text)))
        except FileNotFoundError:
            continue
        except (ValidationError, UnicodeDecodeError):
            remove_quietly(path)
    return requests


def read_result(folder: PreviewFolder, request_id: str) -> PreviewResult:
    """Returns how far a request is."""
    result = folder.results_path / request_id
    try:
        data = read_table(result / "result.json")
        if data.get("error"):
            return PreviewResult("failed", message=str(data["error"]))
        if data.get("cancelled"):
            return PreviewResult("cancelled")
        seconds, loads = float(data["seconds"]), int(data["base_loads"])
        images = int(data.get("images", 1))
    except FileNotFoundError:
        return PreviewResult("waiting")
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return PreviewResult("failed", message="Its result is damaged. Generate it again.")
    return PreviewResult(
        "done",
        seconds=seconds,
        base_loads=loads,
        without_path=result / "without.png",
        with_path=result / "with.png",
        images=images,
    )
