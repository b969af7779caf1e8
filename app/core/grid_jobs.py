"""Grids over two settings: the command that generates one, and how far the newest one is.

What `lorasmith grid` writes lies in the workspace's folder `grids`, under the name of the job,
which is made of the question: the same grid goes on where it ended when it is asked for again.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.core import text
from app.core.generation import GenerationRequest, choose_base_model, compose_request
from app.core.jobs import Job, list_jobs, name_job, send_job, stamp_jobs
from app.core.lora_files import AdapterEntry, find_adapter
from app.core.workspace import Workspace, WorkspaceError
from datasets_tools.bounded_json import read_table
from datasets_tools.disk import remove_quietly
from datasets_tools.files import explain_os_error
from trainer.runs import request as ask
from trainer.runs.grids import AXES, GridFiles

GRID = "grid"
DOWNLOADS = {"png": "image", "json": "record"}  # attributes of `GridFiles`
_MAX_GRIDS = 20


@dataclass(frozen=True)
class AxisValues:
    """An axis as the page sends it: its name, and a value per line; none are those above."""

    name: object
    lines: str

    def read(self) -> list[str]:
        """Returns the values."""
        return [line.strip() for line in self.lines.splitlines() if line.strip()]


@dataclass(frozen=True)
class GridView:
    """How far the newest grid is.

    Attributes:
        job: The command.
        done: Images that are there.
        total: How many there will be; 0 before the command knows.
        rows: What stands beside the rows.
        columns: What stands above the columns.
        cells: Keys, row by row; "" where an image is not there yet.
    """

    job: Job
    done: int
    total: int
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()


def send_grid(
    workspace: Workspace, values: GenerationRequest, rows: AxisValues, columns: AxisValues
) -> Job:
    """Starts the command for a grid, unless it is under way or done.

    Raises:
        WorkspaceError: an adapter is gone, a value is out of bounds, or the command cannot start.
    """
    entries = [find_adapter(workspace, adapter_id) for adapter_id, _ in values.adapters]
    weights = [float(weight) for _, weight in values.adapters]
    base_model = choose_base_model(workspace, values.base_model, entries)
    compose_request(base_model, [(entries[0].path, weights[0])], values)  # raises what is wrong
    names = [axis.name for axis in (rows, columns)]
    if not set(names) <= set(AXES) or names[0] == names[1]:
        raise WorkspaceError(text.GRID_AXES)
    arguments = [*_name_adapters(workspace, entries, weights, steps="step" in names)]
    arguments += [f"--base-model={base_model.path}"] if values.base_model else []
    arguments += _list_values(values, entries, {axis.name: axis.read() for axis in (rows, columns)})
    arguments += [f"--columns={columns.name}", f"--steps={int(values.inference_steps)}"]
    arguments += [f"--aspect={values.aspect}"] if values.aspect else []
    arguments += [f"--negative-prompt={values.negative_prompt}", "--json"]
    job_id = name_job(GRID, *arguments)
    folder = _find_folder(workspace)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(text.cannot_spawn(explain_os_error(error))) from error
    _forget_old(workspace, job_id)
    with contextlib.suppress(OSError):
        ask(workspace.preview.path, "stop")  # the preview's worker has the device's memory
    arguments += [f"--to={locate_grid(workspace, job_id).image}", f"--workspace={workspace.root}"]
    return send_job(workspace, job_id, [GRID, *arguments], again=True)


def view_grid(workspace: Workspace) -> GridView | None:
    """Returns how far the newest grid is; None before there is one."""
    job = next(iter(list_jobs(workspace, GRID)), None)
    if job is None:
        return None
    counts = [each for each in job.events if each.get("event") == "cell"]
    done, total = (int(counts[-1][name]) for name in ("done", "total")) if counts else (0, 0)
    files = locate_grid(workspace, job.id)
    try:
        record = read_table(files.record)
        rows, columns = (tuple(map(str, record[each]["labels"])) for each in ("rows", "columns"))
        keys = [str(cell["key"]) for cell in record["cells"]]
    except (OSError, ValueError, KeyError, TypeError):
        return GridView(job, done, total)
    cells = tuple(key if files.locate(key).is_file() else "" for key in keys)
    return GridView(job, done, total, rows, columns, cells)


def stamp_grid(workspace: Workspace) -> object:
    """Returns what changes when the newest grid does."""
    return stamp_jobs(workspace, [GRID])


def locate_grid(workspace: Workspace, job_id: str) -> GridFiles:
    """Returns where what the command of a job writes lies."""
    return GridFiles(_find_folder(workspace).resolve() / f"{job_id}.png")


def cell_url(job_id: str, key: str) -> str:
    """Returns the address of a cell's image."""
    return f"media/grid/{quote(job_id, safe='')}/{quote(key, safe='')}"


def grid_url(job_id: str, kind: str) -> str:
    """Returns the address of a whole grid, a key of `DOWNLOADS`."""
    return f"media/grid-file/{quote(job_id, safe='')}/{kind}"


def _name_adapters(
    workspace: Workspace, entries: Sequence[AdapterEntry], weights: Sequence[float], *, steps: bool
) -> list[str]:
    """Returns the arguments that name the adapters with their shares."""
    first = entries[0].path.resolve()
    if steps:
        if not entries[0].run_id:
            raise WorkspaceError(text.GRID_STEPS)
        first = workspace.find_run(entries[0].run_id).path.resolve()
    more = zip(entries[1:], weights[1:], strict=True)
    return [
        f"{first}:{weights[0]:g}",
        *(f"--lora={entry.path.resolve()}:{weight:g}" for entry, weight in more),
    ]


def _list_values(
    values: GenerationRequest, entries: Sequence[AdapterEntry], axes: dict[object, list[str]]
) -> list[str]:
    """Returns the arguments of the values: those of the axes, else what the page shows."""
    shown = {
        "weight": ["1"],
        "prompt": [values.prompt],
        "seed": [str(int(values.seed))],
        "sampler": [values.sampler] if values.sampler else [],
        "guidance": [f"{float(values.guidance):g}"],
        "step": ["all"] if "step" in axes else [],
        "adapter": [str(one.path.resolve()) for one in entries] if "adapter" in axes else [],
    }
    arguments = [f"--prompt={one}" for one in axes.get("prompt") or shown["prompt"]]
    for name in (each for each in AXES if each != "prompt"):
        chosen = (axes.get(name) if name != "adapter" else None) or shown[name]
        # Each with its option, so that no value is taken for one.
        arguments += [f"--{name}={one}" for one in chosen]
    return arguments


def _find_folder(workspace: Workspace) -> Path:
    return workspace.root / "grids"


def _forget_old(workspace: Workspace, keep: str) -> None:
    """Removes the oldest grids, but not one that is asked for again."""
    records = sorted(_find_folder(workspace).glob(f"{GRID}-*.json"), key=_read_time, reverse=True)
    for record in records[_MAX_GRIDS:]:
        if record.stem != keep:
            files = locate_grid(workspace, record.stem)
            for path in (files.image, files.record, files.cells):
                remove_quietly(path)


def _read_time(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
