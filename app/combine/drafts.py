"""The Library's workbench: making a draft, generating images with it, saving it."""

import contextlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from app.combine import text
from app.combine.recipes import (
    MODEL_TASKS,
    MODELS,
    Recipe,
    find_sources,
    make_arguments,
    read_weights,
)
from app.combine.workbench import (
    BUILD,
    DRAFT,
    DRAFT_FILE,
    ImageSettings,
    Workbench,
    find_draft,
    list_work,
    read_workbench,
    write_workbench,
)
from app.core.generation import (
    WORKBENCH_REQUESTS,
    GenerationRequest,
    choose_base_model,
    compose_request,
    generate,
)
from app.core.jobs import list_jobs, name_job, read_job, send_job, stop_job
from app.core.lora_files import read_adapter_config, suggest_prompt
from app.core.workspace import Workspace, WorkspaceError, stamp_base_model
from datasets_tools.disk import remove_quietly, sync_file
from datasets_tools.files import explain_os_error, write_aside
from datasets_tools.names import change_name, explain_name, explain_path
from trainer.formats.header import FormatError, read_header
from trainer.runs import PreviewRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_ENDING = ".safetensors"
_TITLES = ("ss_output_name", "modelspec.title")
_INFERENCE_STEPS, _GUIDANCE = 20, 7.0


def try_recipe(workspace: Workspace, recipe: Recipe, images: ImageSettings) -> None:
    """Has a recipe's draft made, instead of the one before; for a base model, only images are.

    Raises:
        WorkspaceError: something is missing or out of bounds, or the command cannot be started.
    """
    entries = find_sources(workspace, recipe)
    if not images.prompt.strip() and entries:
        config = read_adapter_config(workspace, entries[0].id)
        images = replace(images, prompt=suggest_prompt(config) if config else "")
    makes_model = recipe.task in MODEL_TASKS
    job_id = "" if makes_model else _name_draft(workspace, recipe)
    to = workspace.jobs_path / job_id / DRAFT_FILE
    arguments = make_arguments(workspace, recipe, to)
    _drop_drafts(workspace, job_id)
    tried = Workbench(recipe, images, job_id)
    if not makes_model:
        send_job(workspace, job_id, arguments, again=not to.is_file())
    write_workbench(workspace, tried)
    follow(workspace)


def follow(workspace: Workspace) -> None:
    """Asks for the first images once there is something to generate with.

    Whoever looks at the page does this; a second window that does it as well asks for the same.
    What a failed command has left behind is deleted.
    """
    tried = read_workbench(workspace)
    if tried is None:
        return
    job = read_job(workspace, tried.draft)
    if job.state == "failed":
        for path in list_work(job.path):
            remove_quietly(path)
    if tried.request or tried.problem:
        return
    if tried.makes_model or find_draft(workspace, tried) is not None:
        _generate(workspace, tried)


def generate_again(workspace: Workspace, images: ImageSettings) -> None:
    """Generates again, with another weight, prompt or seed; the workbench shows why that failed.

    Raises:
        WorkspaceError: there is nothing to generate with.
    """
    tried = read_workbench(workspace)
    if tried is None or not (tried.makes_model or find_draft(workspace, tried)):
        raise WorkspaceError(text.DRAFT_GONE)
    if not images.prompt.strip():
        images = replace(images, prompt=tried.images.prompt)
    _generate(workspace, replace(tried, images=images))


def stop(workspace: Workspace) -> None:
    """Ends the making of the draft and throws away what there is of it."""
    tried = read_workbench(workspace)
    if tried is not None:
        stop_job(workspace, tried.draft)


def suggest_name(workspace: Workspace, recipe: Recipe) -> str:
    """Returns a name that is free."""
    stems = [Path(source_id).stem.removeprefix("file:") for source_id, _ in recipe.files]
    if recipe.task == "merge":
        stem = "-and-".join(stems)
    elif recipe.task == "extract":
        stem = Path(str(recipe.settings.get("tuned_model"))).stem + "-lora"
    elif recipe.task in MODEL_TASKS:
        sign = "-with-" if recipe.task == "bake" else "-without-"
        stem = Path(str(recipe.settings.get("base_model"))).stem + sign + "-".join(stems)
    else:
        stem = f"{stems[0] if stems else 'lora'}-{recipe.task}d"
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", stem).strip(".-")[:70]
    plain = change_name(plain, "lora")
    name, number = plain, 2
    folder = workspace.models_path if recipe.task in MODEL_TASKS else workspace.loras_path
    while _is_taken(folder, name):
        name, number = f"{plain}-{number}", number + 1
    return name


def save(workspace: Workspace, recipe: Recipe, typed: object) -> None:
    """Saves what was tried: a draft goes among the LoRA files, a base model is written now.

    Raises:
        WorkspaceError: there is nothing to save, `recipe`, which the page shows, is not what was
            tried, or the typed name is taken or none.
    """
    tried = read_workbench(workspace)
    if tried is None or (tried.saved and not tried.makes_model):
        raise WorkspaceError(text.HINT)
    if tried.recipe != recipe:
        raise WorkspaceError(text.OLD)
    folder = workspace.models_path if tried.makes_model else workspace.loras_path
    name = _read_name(folder, typed)
    if tried.makes_model:
        _build(workspace, tried, name)
        return
    draft = find_draft(workspace, tried)
    if draft is None:
        raise WorkspaceError(text.DRAFT_GONE)
    place = folder / f"{name}{_ENDING}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy_retitled(draft, place, name)
    except (FormatError, OSError) as error:
        reason = explain_os_error(error) if isinstance(error, OSError) else str(error)
        raise WorkspaceError(text.not_saved(reason)) from error
    # The report stays with the job, the draft itself does not.
    remove_quietly(draft)
    write_workbench(workspace, replace(tried, saved=place.name))


def _generate(workspace: Workspace, tried: Workbench) -> None:
    try:
        request = generate(workspace, _compose(workspace, tried), WORKBENCH_REQUESTS)
        write_workbench(workspace, replace(tried, request=request, problem=""))
    except WorkspaceError as error:
        write_workbench(workspace, replace(tried, request="", problem=str(error)))


def _compose(workspace: Workspace, tried: Workbench) -> PreviewRequest:
    entries = find_sources(workspace, tried.recipe)
    chosen = tried.recipe.settings.get("base_model")
    base_model = choose_base_model(workspace, chosen, entries)
    images = tried.images
    draft = find_draft(workspace, tried)
    if tried.makes_model:
        sign = -1 if tried.recipe.task == "subtract" else 1
        weights = [sign * weight for weight in read_weights(tried.recipe)]
        files = [(one.path, weight) for one, weight in zip(entries, weights, strict=True)]
    elif draft is None:
        raise WorkspaceError(text.DRAFT_GONE)
    else:
        files = [(draft, images.weight)]
    values = GenerationRequest((), "", images.prompt, images.seed, _INFERENCE_STEPS, _GUIDANCE)
    return compose_request(base_model, files, values)


def _build(workspace: Workspace, tried: Workbench, name: str) -> None:
    """Has a base model written; it appears under its name when it is complete."""
    base = workspace.find_base_model(tried.recipe.settings.get("base_model"))
    file_name = f"{name}{_ENDING}" if base.is_file() else name
    to = workspace.models_path / file_name
    arguments = make_arguments(workspace, tried.recipe, to)
    job_id = name_job(BUILD, tried.recipe.to_json(), file_name)
    if read_job(workspace, tried.build).state == "running":
        raise WorkspaceError(text.BUILDING)
    workspace.models_path.mkdir(parents=True, exist_ok=True)
    send_job(workspace, job_id, arguments, again=True)
    write_workbench(workspace, replace(tried, saved=file_name, build=job_id))


def _name_draft(workspace: Workspace, recipe: Recipe) -> str:
    """Returns the job of a recipe, another one when its files have changed."""
    stamps: list[object] = []
    for entry in find_sources(workspace, recipe):
        with contextlib.suppress(OSError):
            facts = entry.path.stat()
            stamps.append((facts.st_size, facts.st_mtime_ns))
    models = workspace.list_base_models()
    chosen = [recipe.settings.get(key) for key in MODELS]
    stamps += [stamp_base_model(models[name]) for name in chosen if name in models]
    return name_job(DRAFT, recipe.to_json(), repr(stamps))


def _drop_drafts(workspace: Workspace, current: str) -> None:
    for job in list_jobs(workspace, DRAFT):
        if job.id != current:
            stop_job(workspace, job.id)
            remove_quietly(job.path)


def _read_name(folder: Path, typed: object) -> str:
    name = "-".join(str(typed or "").split()).removesuffix(_ENDING)
    if not _NAME.fullmatch(name) or ".." in name:
        raise WorkspaceError(text.NAME_RULE)
    if problem := explain_name(name) or explain_path(folder / f"{name}{_ENDING}"):
        raise WorkspaceError(problem)
    if _is_taken(folder, name):
        raise WorkspaceError(text.name_taken(name))
    return name


def _is_taken(folder: Path, name: str) -> bool:
    return any((folder / each).exists() for each in (name, f"{name}{_ENDING}"))


def _copy_retitled(draft: Path, place: Path, name: str) -> None:
    """Writes the draft under a name, which its header has as well; the hashes leave that out."""
    header = read_header(draft)
    with write_aside(place) as aside, draft.open("rb") as source, aside.open("wb") as target:
        length = int.from_bytes(source.read(8), "little")
        index = json.loads(source.read(length))
        index["__metadata__"] = header.metadata | dict.fromkeys(_TITLES, name)
        content = json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode()
        content += b" " * (-len(content) % 8)
        target.write(len(content).to_bytes(8, "little") + content)
        shutil.copyfileobj(source, target, 1 << 20)
        sync_file(target)
