"""How the app asks the preview worker for images: requests and results are files.

    preview/
      process.json            the worker, while it lives
      requests/ID.json        what to generate; deleted when done
      results/ID/             without.png, with.png, result.json (written last)

The worker keeps the base model loaded. Changing an adapter's weight only changes a multiplier.
"""

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from datasets_tools.bounded_json import read_table
from datasets_tools.disk import read_text, remove_quietly
from datasets_tools.files import write_atomically
from trainer.config import BaseModelConfig
from trainer.config.section import Section


class AdapterChoice(Section):
    """An adapter file and its weight."""

    path: str
    weight: float = Field(default=1.0, ge=-4, le=4)


class PreviewRequest(Section):
    """One image without and one with the adapters, from the same noise."""

    base_model: BaseModelConfig
    prompt: str = Field(max_length=2000)
    negative_prompt: str = Field(default="", max_length=2000)
    seed: int = Field(default=1, ge=0, le=2**31 - 1)
    inference_steps: int = Field(default=20, ge=1, le=200)
    guidance: float = Field(default=7.0, ge=1, le=30)
    width: int = Field(default=0, ge=0, le=4096)
    height: int = Field(default=0, ge=0, le=4096)
    adapters: tuple[AdapterChoice, ...] = ()


@dataclass(frozen=True)
class PreviewResult:
    """State of one request; `with_path` and `without_path` exist when state is done."""

    state: Literal["waiting", "done", "failed"]
    message: str = ""
    seconds: float = 0.0
    base_loads: int = 0
    without_path: Path | None = None
    with_path: Path | None = None


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
        seconds, loads = float(data["seconds"]), int(data["base_loads"])
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
    )
