"""The Library's workbench: making a draft, drawing with it, saving it."""

import contextlib
import json
import os
import re
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

from app.combine import text as words
from app.combine.recipe_commands import find_base, find_sources, make_arguments, read_weights
from app.combine.recipes import MODEL_TASKS, Recipe
from app.combine.workbench import (
    BUILD,
    DRAFT,
    DRAFT_FILE,
    Bench,
    Look,
    find_draft,
    list_work,
    read_bench,
)
from app.core import text as folders_text
from app.core.adapters import read_adapter_config, suggest_prompt
from app.core.generation import (
    WORKBENCH_REQUESTS,
    GenerationRequest,
    compose_request,
    generate,
)
from app.core.jobs import list_jobs, name_job, read_job, send_job, stop_job
from app.core.known_models import stamp_base_model
from app.core.workspace import WINDOWS_DEVICE, Workspace, WorkspaceError
from datasets_tools.files import explain_os_error, write_atomically
from trainer.formats.header import FormatError, read_header
from trainer.runs import PreviewRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_ENDING = ".safetensors"
_TITLES = ("ss_output_name", "modelspec.title")
_INFERENCE_STEPS, _GUIDANCE = 20, 7.0


def try_recipe(workspace: Workspace, recipe: Recipe, look: Look) -> None:
    """Has a recipe's draft made, in place of the one before; for a base model it is only drawn.

    Raises:
        WorkspaceError: something is missing or out of bounds, or the command cannot be started.
    """
    entries = find_sources(workspace, recipe)
    if not look.prompt.strip() and entries:
        config = read_adapter_config(workspace, entries[0].id)
        look = replace(look, prompt=suggest_prompt(config) if config else "")
    makes_model = recipe.task in MODEL_TASKS
    job_id = "" if makes_model else _name_draft(workspace, recipe)
    to = workspace.jobs_path / job_id / DRAFT_FILE
    arguments = make_arguments(workspace, recipe, to)
    _drop_drafts(workspace, job_id)
    bench = Bench(recipe, look, job_id)
    if not makes_model:
        send_job(workspace, job_id, arguments, again=not to.is_file())
    _keep(workspace, bench)
    follow(workspace)


def follow(workspace: Workspace) -> None:
    """Asks for the first pictures once there is something to draw with.

    Whoever looks at the page does this; a second tab that does it as well draws the same again.
    What a failed command has left behind is swept away.
    """
    bench = read_bench(workspace)
    if bench is None:
        return
    job = read_job(workspace, bench.draft)
    if job.state == "failed":
        for path in list_work(job.path):
            path.unlink(missing_ok=True)
    if bench.asked or bench.problem:
        return
    if bench.makes_model or find_draft(workspace, bench) is not None:
        _draw(workspace, bench)


def redraw(workspace: Workspace, look: Look) -> None:
    """Draws again, with another weight, prompt or seed; the bench tells why where that fails.

    Raises:
        WorkspaceError: there is nothing to draw with.
    """
    bench = read_bench(workspace)
    if bench is None or not (bench.makes_model or find_draft(workspace, bench)):
        raise WorkspaceError(words.DRAFT_GONE)
    if not look.prompt.strip():
        look = replace(look, prompt=bench.look.prompt)
    _draw(workspace, replace(bench, look=look))


def stop(workspace: Workspace) -> None:
    """Ends the making of the draft and throws away what there is of it."""
    bench = read_bench(workspace)
    if bench is not None:
        stop_job(workspace, bench.draft)


def suggest_name(workspace: Workspace, recipe: Recipe) -> str:
    """Returns a name that is free."""
    stems = [Path(source_id).stem.removeprefix("file:") for source_id, _ in recipe.files]
    if recipe.task == "merge":
        wanted = "-and-".join(stems)
    elif recipe.task == "extract":
        wanted = Path(str(recipe.settings.get("tuned_model"))).stem + "-lora"
    elif recipe.task in MODEL_TASKS:
        sign = "-with-" if recipe.task == "bake" else "-without-"
        wanted = Path(str(recipe.settings.get("base_model"))).stem + sign + "-".join(stems)
    else:
        wanted = f"{stems[0] if stems else 'lora'}-{recipe.task}d"
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", wanted).strip(".-")[:70] or "lora"
    name, number = plain, 2
    folder = workspace.models_path if recipe.task in MODEL_TASKS else workspace.loras_path
    while _is_taken(folder, name):
        name, number = f"{plain}-{number}", number + 1
    return name


def save(workspace: Workspace, recipe: Recipe, typed: object) -> None:
    """Saves what was tried: a draft goes among the LoRA files, a base model is written now.

    Args:
        workspace: Where it goes.
        recipe: What the page shows; it must be what was tried.
        typed: The name.

    Raises:
        WorkspaceError: there is nothing to save, or the name is taken or none.
    """
    bench = read_bench(workspace)
    if bench is None or (bench.saved and not bench.makes_model):
        raise WorkspaceError(words.HINT)
    if bench.recipe != recipe:
        raise WorkspaceError(words.OLD)
    folder = workspace.models_path if bench.makes_model else workspace.loras_path
    name = _read_name(folder, typed)
    if bench.makes_model:
        _build(workspace, bench, name)
        return
    draft = find_draft(workspace, bench)
    if draft is None:
        raise WorkspaceError(words.DRAFT_GONE)
    place = folder / f"{name}{_ENDING}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy_retitled(draft, place, name)
    except (FormatError, OSError) as error:
        reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
        raise WorkspaceError(words.not_saved(reason)) from error
    # The report stays with the job, the draft itself does not.
    draft.unlink(missing_ok=True)
    _keep(workspace, replace(bench, saved=place.name))


def _draw(workspace: Workspace, bench: Bench) -> None:
    try:
        asked = generate(workspace, _compose(workspace, bench), WORKBENCH_REQUESTS)
        _keep(workspace, replace(bench, asked=asked, problem=""))
    except WorkspaceError as error:
        _keep(workspace, replace(bench, asked="", problem=str(error)))


def _compose(workspace: Workspace, bench: Bench) -> PreviewRequest:
    entries = find_sources(workspace, bench.recipe)
    base_model = find_base(workspace, bench.recipe, entries)
    look = bench.look
    draft = find_draft(workspace, bench)
    if bench.makes_model:
        sign = -1 if bench.recipe.task == "subtract" else 1
        weights = [sign * weight for weight in read_weights(bench.recipe)]
        files = [(one.path, weight) for one, weight in zip(entries, weights, strict=True)]
    elif draft is None:
        raise WorkspaceError(words.DRAFT_GONE)
    else:
        files = [(draft, look.weight)]
    values = GenerationRequest((), "", look.prompt, look.seed, _INFERENCE_STEPS, _GUIDANCE)
    return compose_request(base_model, files, values)


def _build(workspace: Workspace, bench: Bench, name: str) -> None:
    """Has a base model written; it appears in its place when it is complete."""
    base = workspace.find_base_model(bench.recipe.settings.get("base_model"))
    file_name = f"{name}{_ENDING}" if base.is_file() else name
    to = workspace.models_path / file_name
    arguments = make_arguments(workspace, bench.recipe, to)
    job_id = name_job(BUILD, bench.recipe.to_json(), file_name)
    if read_job(workspace, bench.build).state == "running":
        raise WorkspaceError(words.BUILDING)
    workspace.models_path.mkdir(parents=True, exist_ok=True)
    send_job(workspace, job_id, arguments, again=True)
    _keep(workspace, replace(bench, saved=file_name, build=job_id))


def _name_draft(workspace: Workspace, recipe: Recipe) -> str:
    """Returns the job of a recipe, another one when its files have changed."""
    stamps: list[object] = []
    for entry in find_sources(workspace, recipe):
        with contextlib.suppress(OSError):
            facts = entry.path.stat()
            stamps.append((facts.st_size, facts.st_mtime_ns))
    models = workspace.list_base_models()
    chosen = [recipe.settings.get(key) for key in ("base_model", "tuned_model")]
    stamps += [stamp_base_model(models[name]) for name in chosen if name in models]
    return name_job(DRAFT, recipe.to_json(), repr(stamps))


def _drop_drafts(workspace: Workspace, kept: str) -> None:
    for job in list_jobs(workspace, DRAFT):
        if job.id != kept:
            stop_job(workspace, job.id)
            shutil.rmtree(job.path, ignore_errors=True)


def _read_name(folder: Path, typed: object) -> str:
    name = "-".join(str(typed or "").split()).removesuffix(_ENDING)
    if not _NAME.fullmatch(name) or ".." in name or WINDOWS_DEVICE.fullmatch(name):
        raise WorkspaceError(words.NAME_RULE)
    if _is_taken(folder, name):
        raise WorkspaceError(words.name_taken(name))
    return name


def _is_taken(folder: Path, name: str) -> bool:
    return any((folder / each).exists() for each in (name, f"{name}{_ENDING}"))


def _copy_retitled(draft: Path, place: Path, name: str) -> None:
    """Writes the draft under a name, which its header tells as well; the hashes leave that out."""
    header = read_header(draft)
    aside = place.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with draft.open("rb") as source, aside.open("wb") as target:
            length = int.from_bytes(source.read(8), "little")
            index = json.loads(source.read(length))
            index["__metadata__"] = header.metadata | dict.fromkeys(_TITLES, name)
            text = json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode()
            text += b" " * (-len(text) % 8)
            target.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        aside.replace(place)
    finally:
        aside.unlink(missing_ok=True)


def _keep(workspace: Workspace, bench: Bench) -> None:
    try:
        write_atomically(workspace.workbench_path, bench.to_json())
    except OSError as error:
        raise WorkspaceError(folders_text.cannot_write(str(error.strerror or error))) from error
