"""The dataset check of the tab: measured in the background, kept by content, fixed by a button."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from app.core.base_models import view_base_model
from app.core.examples import THUMBNAIL_ID, folder_signature, key_of, read_trigger
from app.core.run_contents import read_resolution
from app.core.workspace import Workspace, WorkspaceError
from app.dataset import text
from app.dataset.images import CAPTION_LOCK
from app.ui.fragments import Params
from datasets_tools.buckets import make_buckets, place_image
from datasets_tools.checks.cache import MeasureCache, place_cache
from datasets_tools.checks.remedies import Fixed, find_last_fix, fix_finding, undo_fix
from datasets_tools.checks.report import CheckOptions, CheckReport, check_dataset
from datasets_tools.checks.scan import count_unknown, measure_folder
from datasets_tools.checks.subject import CheckFinding
from datasets_tools.errors import DatasetError
from datasets_tools.examples import Example

FEW = 30  # so many images are looked at within a request
_FULL_STEP = 64
_SMALL_MODEL = 384
_MOST_REPORTS = 16


@dataclass
class _Known:
    """What is known of one dataset's images, and how far looking at them is.

    `ready` and `tried` are the folder's signatures when it could be shown last, and when looking
    at it in the background began last: images that cannot be read stay unknown.
    """

    cache: MeasureCache
    lock: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None
    done: int = 0
    total: int = 0
    ready: str = ""
    tried: str = ""


@dataclass(frozen=True)
class Cut:
    """What training cuts off an image: per cent of its area, and of its sides what is left."""

    percent: int
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    scale: float


_lock = threading.Lock()
_known: dict[Path, _Known] = {}
_reports: dict[tuple[Path, str, CheckOptions], CheckReport] = {}


def read_progress(workspace: Workspace, folder: Path) -> tuple[int, int] | None:
    """Returns how many images were looked at and how many there are, while that goes on.

    Where many images are new it starts looking at them in the background; None means that the
    dataset can be shown. A few new ones are looked at by whoever asks for them.
    """
    known, signature = _find_known(workspace, folder), folder_signature(folder)
    with known.lock:
        if known.ready == signature:
            return None
        if known.thread is not None and known.thread.is_alive():
            return known.done, known.total
        known.thread = None
        unknown, total = count_unknown(folder, known.cache)
        if unknown <= FEW or known.tried == signature:
            known.ready = signature
            return None
        known.tried = signature
        known.done, known.total = total - unknown, total
        known.thread = threading.Thread(
            target=_look, args=(workspace, folder, known), daemon=True, name="dataset-check"
        )
        known.thread.start()
        return known.done, known.total


def find_report(workspace: Workspace, folder: Path, options: CheckOptions) -> CheckReport:
    """Returns the check of a dataset; as long as nothing in it changes it is not made again."""
    key = (folder, folder_signature(folder), options)
    with _lock:
        report = _reports.get(key)
    if report is None:
        report = check_dataset(folder, options, _find_known(workspace, folder).cache)
        with _lock:
            while len(_reports) >= _MOST_REPORTS:
                del _reports[next(iter(_reports))]
            _reports[key] = report
    return report


def read_options(workspace: Workspace, folder: Path, params: Params) -> CheckOptions:
    """Returns what a dataset is checked for: its trigger word, the chosen base model's size."""
    name = params.get("base_model", "")
    view = view_base_model(workspace, name)
    path = workspace.list_base_models().get(name)
    return make_options(read_trigger(folder), read_resolution(path, view.family if view else ""))


def make_options(trigger: str, resolution: int) -> CheckOptions:
    """Returns the options for a training size."""
    step = _FULL_STEP if resolution >= _SMALL_MODEL else max(8, resolution // 8)
    return CheckOptions(trigger, resolution, step)


def list_shown(report: CheckReport) -> list[CheckFinding]:
    """Returns the findings for the page: the trainer itself puts a missing trigger first."""
    return [one for one in report.findings if one.code != "trigger_missing"]


def list_keys(report: CheckReport, finding: CheckFinding) -> list[str]:
    """Returns the keys of the images that a finding is about."""
    names = {*finding.names}
    return [key_of(each) for each in report.examples if each.name in names]


def list_badges(report: CheckReport) -> dict[str, list[str]]:
    """Returns the titles of what was found about each image, by its key."""
    badges: dict[str, list[str]] = {}
    for finding in list_shown(report):
        for key in list_keys(report, finding):
            badges.setdefault(key, []).append(finding.title)
    return badges


def fix(workspace: Workspace, params: Params, code: str) -> str:
    """Carries out the remedy of a finding and returns what that did, in a sentence.

    Raises:
        WorkspaceError: it is not found any more, or cannot be carried out.
    """
    folder = workspace.find_dataset(params.get("dataset"))
    options = read_options(workspace, folder, params)
    finding = find_report(workspace, folder, options).find(code)
    if finding is None:
        raise WorkspaceError(text.FINDING_GONE)
    try:
        with CAPTION_LOCK:
            done: Fixed = fix_finding(folder, finding, options)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    return done.message


def undo_last_fix(workspace: Workspace, dataset: object) -> str:
    """Brings back the images of the last remedy and returns what that did, in a sentence.

    Raises:
        WorkspaceError: there is none, or a file cannot be moved.
    """
    folder = workspace.find_dataset(dataset)
    try:
        with CAPTION_LOCK:
            done = undo_fix(folder)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error
    if done is None:
        raise WorkspaceError(text.NO_FIX)
    return done.message


def find_undo(folder: Path) -> str:
    """Returns what the last remedy did to images; "" where none can be undone."""
    return find_last_fix(folder)


def find_cut(example: Example, options: CheckOptions) -> Cut:
    """Returns what training at a size cuts off an image."""
    buckets = make_buckets(options.resolution, options.step)
    placed = place_image(example.width, example.height, buckets, options.step, float("inf"))
    (width, height), (left, top) = placed.resized, placed.crop
    size = (placed.bucket.width, placed.bucket.height)
    box = (left / width, top / height, (left + size[0]) / width, (top + size[1]) / height)
    return Cut(round(placed.crop_fraction * 100), box, size, placed.scale)


def _find_known(workspace: Workspace, folder: Path) -> _Known:
    with _lock:
        if folder not in _known:
            _known[folder] = _Known(MeasureCache(place_cache(workspace.checks_path, folder)))
        return _known[folder]


def _look(workspace: Workspace, folder: Path, known: _Known) -> None:
    def note(done: int, total: int) -> None:
        known.done, known.total = done, total

    def place(content: str) -> Path:
        return workspace.thumbnails_path / f"{content[:THUMBNAIL_ID]}.webp"

    measure_folder(folder, known.cache, note, place)
    known.cache.save()
