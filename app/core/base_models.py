"""What is known of a base model, and how far a download is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.core.jobs import Errand, list_errands, name_errand, read_errand
from app.core.known_models import read_known, stamp_base_model
from app.core.sizes import show_bytes
from app.core.workspace import Workspace
from app.models import text as words
from trainer.formats.families import FAMILIES
from trainer.runs.base_models import parse_hub_id

HUB_ID_FILE = "hub-id.txt"
_DOWNLOADS = "download"


@dataclass(frozen=True)
class BaseModelView:
    """A base model at a glance.

    Attributes:
        name: As it stands in the list.
        state: "unasked" before anybody looked, then "looking", then "known" or "refused".
        family: A key of `FAMILIES`; "" before it is known.
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


def name_model_errand(path: Path) -> str:
    """Returns the id of the errand that looks at a base model as it is now."""
    return name_errand("model", str(path), stamp_base_model(path))


def view_base_model(workspace: Workspace, name: object) -> BaseModelView | None:
    """Returns what is known of a listed base model; None where there is none of that name."""
    path = workspace.list_base_models().get(name) if isinstance(name, str) else None
    if path is None:
        return None
    errand = read_errand(workspace, name_model_errand(path))
    if errand.state == "none":
        return BaseModelView(str(name), "unasked")
    if errand.state == "running":
        return BaseModelView(str(name), "looking")
    told = _find_entry(errand.answer)
    if errand.state == "failed" or not told.get("family"):
        message = str(told.get("message") or errand.message)
        return BaseModelView(str(name), "refused", message=message)
    return _make_view(workspace, str(name), path, told)


def read_answers(workspace: Workspace, name: object) -> dict[str, str]:
    """Returns what a person said about a base model: settings below `base_model` by name."""
    path = workspace.list_base_models().get(name) if isinstance(name, str) else None
    return read_known(workspace.known_models_path).answers.get(str(path), {}) if path else {}


def find_download(workspace: Workspace) -> Errand:
    """Returns the download that was asked for last."""
    return next(iter(list_errands(workspace, _DOWNLOADS)), Errand())


def name_download(hub_id: str) -> str:
    """Returns the id of the errand that downloads a base model."""
    return name_errand(_DOWNLOADS, hub_id)


def read_hub_id(errand: Errand) -> str:
    """Returns what a download downloads."""
    try:
        return (errand.path / HUB_ID_FILE).read_text(encoding="utf-8")
    except OSError:
        return ""


def find_downloaded(workspace: Workspace, errand: Errand) -> str:
    """Returns the name in the list of what a download brought; "" where it is not there."""
    hub_id = parse_hub_id(read_hub_id(errand))
    place = (workspace.models_path / hub_id.entry).resolve() if hub_id else None
    listed = workspace.list_base_models().items()
    return next((name for name, path in listed if path == place), "")


def describe_download(errand: Errand) -> tuple[str, str, int]:
    """Returns the line about a download, its kind, and its percent."""
    hub_id = read_hub_id(errand)
    if errand.state == "running":
        done, total = read_progress(errand)
        if not total:
            return words.DOWNLOAD_STARTED, "info", 0
        percent = min(100, int(100 * done / total))
        return (
            words.downloading(hub_id, show_bytes(done), show_bytes(total), percent),
            "info",
            percent,
        )
    if errand.state == "done":
        return words.downloaded(hub_id), "good", 100
    if errand.state == "failed" and errand.was_stopped:
        return words.DOWNLOAD_STOPPED, "info", 0
    if errand.state == "failed":
        return words.download_failed(errand.message), "error", 0
    return "", "info", 0


def read_progress(errand: Errand) -> tuple[int, int]:
    """Returns the bytes of a download that have arrived, and those that it has in all."""
    for event in reversed(errand.events):
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
        (words.FACT_FAMILY, FAMILIES[family].long_title if family in FAMILIES else family),
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
