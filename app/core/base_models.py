"""What is known of a base model, and how far a download is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.core.jobs import Job, list_jobs, name_job, read_job
from app.core.known_models import read_known, stamp_base_model
from app.core.sizes import show_bytes
from app.core.workspace import Workspace
from app.models import text as words
from trainer.runs.base_models import parse_hub_id

HUB_ID_FILE = "hub-id.txt"
_DOWNLOADS = "download"


@dataclass(frozen=True)
class BaseModelView:
    """A base model at a glance.

    Attributes:
        name: As it stands in the list.
        state: "unasked" before anybody looked, then "looking", then "known" or "refused".
        family: "sd15", "sd2", "sdxl"; "" before it is known.
        prediction: What it predicts, or most likely does.
        asks: It does not say what it predicts, and nobody has answered yet.
        answered: What the person answered; "" where they did not.
        facts: What the card shows, as names and values.
        message: Why it cannot be trained.
    """

    name: str
    state: Literal["unasked", "looking", "known", "refused"]
    family: str = ""
    prediction: str = ""
    asks: bool = False
    answered: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    message: str = ""


def name_model_job(path: Path) -> str:
    """Returns the id of the job that looks at a base model as it is now."""
    return name_job("model", str(path), stamp_base_model(path))


def view_base_model(workspace: Workspace, name: object) -> BaseModelView | None:
    """Returns what is known of a listed base model; None where there is none of that name."""
    path = workspace.list_base_models().get(name) if isinstance(name, str) else None
    if path is None:
        return None
    job = read_job(workspace, name_model_job(path))
    if job.state == "none":
        return BaseModelView(str(name), "unasked")
    if job.state == "running":
        return BaseModelView(str(name), "looking")
    told = _find_entry(job.answer)
    if job.state == "failed" or not told.get("family"):
        message = str(told.get("message") or job.message)
        return BaseModelView(str(name), "refused", message=message)
    return _make_view(workspace, str(name), path, told)


def read_answers(workspace: Workspace, name: object) -> dict[str, str]:
    """Returns what a person said about a base model: settings below `base_model` by name."""
    path = workspace.list_base_models().get(name) if isinstance(name, str) else None
    return read_known(workspace.known_models_path).answers.get(str(path), {}) if path else {}


def find_download(workspace: Workspace) -> Job:
    """Returns the download that was asked for last."""
    return next(iter(list_jobs(workspace, _DOWNLOADS)), Job())


def name_download(hub_id: str) -> str:
    """Returns the id of the job that downloads a base model."""
    return name_job(_DOWNLOADS, hub_id)


def read_hub_id(job: Job) -> str:
    """Returns what a download downloads."""
    try:
        return (job.path / HUB_ID_FILE).read_text(encoding="utf-8")
    except OSError:
        return ""


def find_downloaded(workspace: Workspace, job: Job) -> str:
    """Returns the name in the list of what a download brought; "" where it is not there."""
    hub_id = parse_hub_id(read_hub_id(job))
    place = (workspace.models_path / hub_id.entry).resolve() if hub_id else None
    listed = workspace.list_base_models().items()
    return next((name for name, path in listed if path == place), "")


def describe_download(job: Job) -> tuple[str, str, int]:
    """Returns the line about a download, its kind, and its percent."""
    hub_id = read_hub_id(job)
    if job.state == "running":
        done, total = read_progress(job)
        if not total:
            return words.DOWNLOAD_STARTED, "info", 0
        percent = min(100, int(100 * done / total))
        return (
            words.downloading(hub_id, show_bytes(done), show_bytes(total), percent),
            "info",
            percent,
        )
    if job.state == "done":
        return words.downloaded(hub_id), "good", 100
    if job.state == "failed" and job.was_stopped:
        return words.DOWNLOAD_STOPPED, "info", 0
    if job.state == "failed":
        return words.download_failed(job.message), "error", 0
    return "", "info", 0


def read_progress(job: Job) -> tuple[int, int]:
    """Returns the bytes of a download that have arrived, and those that it has in all."""
    for event in reversed(job.events):
        if isinstance(event.get("done"), int) and isinstance(event.get("total"), int):
            return event["done"], event["total"]
    return 0, 0


def _find_entry(answer: Any) -> dict[str, Any]:
    """Returns the one base model that was asked about."""
    entry = answer[0] if isinstance(answer, list) and answer else answer
    return entry if isinstance(entry, dict) else {}


def _make_view(workspace: Workspace, name: str, path: Path, told: dict[str, Any]) -> BaseModelView:
    answered = read_known(workspace.known_models_path).answers.get(str(path), {})
    answer = answered.get("prediction", "")
    family, prediction = str(told.get("family", "")), str(told.get("prediction", ""))
    said = [words.PREDICTIONS.get(answer or prediction, answer or prediction)]
    if told.get("zero_snr"):
        said.append(words.ZERO_SNR)
    facts = (
        (words.FACT_FAMILY, words.FAMILIES.get(family, family)),
        (words.FACT_PREDICTION, ", ".join(said)),
        (words.FACT_SIZE, show_bytes(int(told.get("bytes", 0)))),
        (words.FACT_PLACE, words.LAYOUTS.get(str(told.get("layout", "")), "")),
    )
    return BaseModelView(
        name=name,
        state="known",
        family=family,
        prediction=prediction,
        asks=bool(told.get("message")),
        answered=answer,
        facts=tuple(fact for fact in facts if fact[1]),
    )
