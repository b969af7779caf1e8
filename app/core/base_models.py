"""What is known of a base model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from app.core import text
from app.core.jobs import Job, name_job, read_job
from app.core.workspace import (
    KnownModels,
    Workspace,
    WorkspaceError,
    read_known,
    stamp_base_model,
    write_known,
)
from datasets_tools.files import explain_os_error
from trainer.formats.families import FAMILIES


@dataclass(frozen=True)
class BaseModelView:
    """A base model at a glance.

    Attributes:
        name: As it stands in the list.
        state: "unasked" before anybody looked, then "looking", then "known" or "refused".
        family: A key of `FAMILIES`; "" before it is known.
        prediction: What it predicts, or most likely does.
        asks: It does not state what it predicts, and nobody has answered yet.
        answered: What the person answered, else what was measured; "" where neither is known.
        measured: The sentence about the measurement; "" where nothing was measured.
        measured_prediction: What was measured; "" where nothing was, or it fits no kind.
        measuring: The job that measures it, or has.
        zero_snr: Its noise schedule ends in pure noise.
        notes: What a person should know before training on it.
        public: It has the sizes of its family's public model, as far as is known.
        facts: What the card shows, as names and values.
        message: Why it cannot be trained.
        device_bytes: The memory of the GPU that was there; 0 where there was none.
    """

    name: str
    state: Literal["unasked", "looking", "known", "refused"]
    family: str = ""
    prediction: str = ""
    asks: bool = False
    answered: str = ""
    measured: str = ""
    measured_prediction: str = ""
    measuring: Job = field(default_factory=Job)
    zero_snr: bool = False
    notes: tuple[str, ...] = ()
    public: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    message: str = ""
    device_bytes: int = 0


def name_model_job(path: Path) -> str:
    """Returns the id of the job that looks at a base model as it is now."""
    return name_job("model", str(path), stamp_base_model(path))


def name_measuring_job(path: Path) -> str:
    """Returns the id of the job that measures what a base model as it is now predicts."""
    return name_job("measure", str(path), stamp_base_model(path))


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
    answer = job.answer[0] if isinstance(job.answer, list) and job.answer else job.answer
    entry = answer if isinstance(answer, dict) else {}
    if job.state == "failed" or not entry.get("family"):
        message = str(entry.get("message") or job.message)
        return BaseModelView(str(name), "refused", message=message)
    return _make_view(workspace, str(name), entry)


def read_answers(workspace: Workspace, name: object) -> dict[str, str]:
    """Returns what is known about a base model beyond its file: settings below `base_model`.

    A person's answers come first, then what was measured.
    """
    path = workspace.list_base_models().get(name) if isinstance(name, str) else None
    return _find_answers(read_known(workspace.known_models_path), path) if path else {}


def _find_answers(known: KnownModels, path: Path) -> dict[str, str]:
    answers = known.answers.get(str(path))
    if answers:
        return answers
    prediction = _find_measured(known, path).get("prediction", "")
    return {"prediction": prediction} if prediction else {}


def _find_measured(known: KnownModels, path: Path) -> dict[str, str]:
    """Returns what was measured of a base model, unless it was replaced since."""
    measured = known.measured.get(str(path), {})
    return measured if measured.get("stamp") == stamp_base_model(path) else {}


def list_predictions(workspace: Workspace) -> dict[str, str]:
    """Returns what base models predict by answers or measurements, by names in the list."""
    known = read_known(workspace.known_models_path)
    listed = {
        name: _find_answers(known, path).get("prediction", "")
        for name, path in workspace.list_base_models().items()
    }
    return {name: prediction for name, prediction in listed.items() if prediction}


def save_answer(workspace: Workspace, name: object, prediction: object) -> None:
    """Saves a person's answer to what a base model predicts.

    Raises:
        WorkspaceError: there is no such base model or no such answer, or it cannot be written.
    """
    path = workspace.find_base_model(name)
    if prediction not in text.PREDICTIONS:
        raise WorkspaceError(text.PREDICTION_QUESTION)
    answer = {str(path): {"prediction": str(prediction)}}
    change_known_models(
        workspace, lambda known: replace(known, answers={**known.answers, **answer})
    )


def save_measurement(workspace: Workspace, path: Path, prediction: str, message: str) -> None:
    """Saves what a base model predicts by measurement; a prediction of "" is unknown.

    Raises:
        WorkspaceError: it cannot be written.
    """
    place = path.resolve()
    entry = {"prediction": prediction, "message": message, "stamp": stamp_base_model(place)}
    measured = {str(place): entry}
    change_known_models(
        workspace, lambda known: replace(known, measured={**known.measured, **measured})
    )


def change_known_models(workspace: Workspace, change: Callable[[KnownModels], KnownModels]) -> None:
    """Changes what is known of base models; no other process changes it in between.

    Raises:
        WorkspaceError: it cannot be written, or another process holds it.
    """
    path = workspace.known_models_path
    try:
        with FileLock(str(path.with_name(f".{path.name}.lock")), timeout=10):
            write_known(path, change(read_known(path)))
    except Timeout:
        raise WorkspaceError(text.KNOWN_MODELS_BUSY) from None
    except OSError as error:
        raise WorkspaceError(text.cannot_write(explain_os_error(error))) from error


def _make_view(workspace: Workspace, name: str, entry: dict[str, Any]) -> BaseModelView:
    path = workspace.list_base_models()[name]
    known = read_known(workspace.known_models_path)
    answer = _find_answers(known, path).get("prediction", "")
    measured = _find_measured(known, path)
    family, prediction = str(entry.get("family", "")), str(entry.get("prediction", ""))
    predicts = [text.PREDICTIONS.get(answer or prediction, answer or prediction)]
    if not answer and not entry.get("certain", True):
        predicts.append(text.ASSUMED)
    if entry.get("zero_snr"):
        predicts.append(text.ZERO_SNR)
    facts = (
        (text.FACT_FAMILY, FAMILIES[family].long_title if family in FAMILIES else family),
        (text.FACT_PREDICTION, ", ".join(predicts)),
        (text.FACT_SIZE, text.show_bytes(int(entry.get("bytes", 0)))),
        (text.FACT_PLACE, text.LAYOUTS.get(str(entry.get("layout", "")), "")),
    )
    return BaseModelView(
        name=name,
        state="known",
        family=family,
        prediction=prediction,
        asks=bool(entry.get("message")),
        answered=answer,
        device_bytes=int(entry.get("device_bytes", 0)),
        measured=measured.get("message", ""),
        measured_prediction=measured.get("prediction", ""),
        measuring=read_job(workspace, name_measuring_job(path)),
        zero_snr=bool(entry.get("zero_snr")),
        notes=tuple(str(one) for one in entry.get("notes", ())),
        public=bool(entry.get("public")),
        facts=tuple(fact for fact in facts if fact[1]),
    )
