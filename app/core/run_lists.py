"""All runs of a workspace, at a cost that depends on what changed, and what may be chosen of it."""

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from app.core.base_models import list_predictions
from app.core.examples import look
from app.core.run_views import RunView, forget_log, view_run
from app.core.workspace import Workspace, stamp_file
from trainer.runs import RunFolder, RunListing

_IN_TURN = 8  # of a thousand runs, each is looked at every two minutes


class RunViewList(list[RunView]):
    """All runs, newest first, and what is asked of them at every poll without looking at each.

    Attributes:
        by_id: The same by id.
        busy: The first that is worked on.
        version: Another number whenever there are other runs, or one has another name.
    """

    def __init__(self, by_id: Mapping[str, RunView], busy: Collection[str], version: int) -> None:
        super().__init__(by_id.values())
        self.by_id, self.version = by_id, version
        self.busy = next((by_id[each] for each in by_id if each in busy), None) if busy else None


class _RunViews:
    """The views of all runs of a folder; a look costs what changed.

    Runs that are worked on are looked at each time, and all of them when one came, went, began or
    ended. Of the others a few are, in turn, in case somebody changed their files by hand.
    """

    def __init__(self, path: Path) -> None:
        self._listing = RunListing(path)
        self._listed = self._names = self._turn = 0
        self._stamps: dict[str, object] = {}
        self._views: dict[str, RunView] = {}
        self._busy: set[str] = set()

    def read(self) -> RunViewList:
        """Returns the views, newest first."""
        runs = self._listing.read()
        if self._listing.version != self._listed:
            self._listed = self._listing.version
            self._start_anew(runs)
            due = runs
        else:
            turn = [(self._turn + each) % max(1, len(runs)) for each in range(_IN_TURN)]
            self._turn += _IN_TURN
            busy = [RunFolder(self._listing.path / each) for each in self._busy]
            others = [runs[each] for each in dict.fromkeys(turn) if each < len(runs)]
            due = [*busy, *(run for run in others if run.id not in self._busy)]
        for run in due:
            self._look(run)
        return RunViewList(dict(self._views), self._busy, self._names)

    def _start_anew(self, runs: list[RunFolder]) -> None:
        """Takes other runs, in their order; what was read of those that stay is kept."""
        empty = RunView("", "", "new")
        if [run.id for run in runs] != list(self._views):
            self._names += 1
        gone = self._views.keys() - {run.id for run in runs}
        for each in gone:
            forget_log(RunFolder(self._listing.path / each))
            self._stamps.pop(each, None)
            self._busy.discard(each)
        self._views = {run.id: self._views.get(run.id, empty) for run in runs}

    def _look(self, run: RunFolder) -> None:
        stamp = (stamp_file(run.path), stamp_file(run.events_path))
        if run.id not in self._busy and self._stamps.get(run.id) == stamp:
            return
        before, view = self._views[run.id], view_run(run)
        self._stamps[run.id], self._views[run.id] = stamp, view
        self._names += before.name != view.name
        (self._busy.add if view.busy else self._busy.discard)(run.id)


_lists: dict[Path, _RunViews] = {}
_lock = threading.Lock()


def list_run_views(workspace: Workspace) -> RunViewList:
    """Returns all runs, newest first."""
    return look(workspace.runs_path, lambda: _read_views(workspace.runs_path))


def _read_views(path: Path) -> RunViewList:
    with _lock:
        if path not in _lists:
            _lists[path] = _RunViews(path)
        return _lists[path].read()


def find_busy_run(workspace: Workspace) -> RunView | None:
    """Returns the run that is being worked on."""
    return list_run_views(workspace).busy


def choose_run(views: RunViewList, chosen: object = None) -> RunView | None:
    """Returns the chosen run, else the one that is being worked on, else the newest."""
    if isinstance(chosen, str) and chosen in views.by_id:
        return views.by_id[chosen]
    return views.busy or (views[0] if views else None)


def read_choices_version(workspace: Workspace) -> object:
    """Returns what changes when `list_choices` does, without making the lists."""
    views = list_run_views(workspace)
    shown = choose_run(views)
    models = list(workspace.list_base_models()), list_predictions(workspace)
    return workspace.list_datasets(), models, views.version, shown and shown.id


def list_choices(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Returns, by the name of a choice, its labels with values, and the value to begin with."""
    datasets = workspace.list_datasets()
    models = list(workspace.list_base_models())
    views = list_run_views(workspace)
    shown = choose_run(views)
    return {
        "dataset": _make_list([(name, name) for name in datasets]),
        "base_model": {
            **_make_list([(name, name) for name in models]),
            "answers": list_predictions(workspace),
        },
        "run": {
            "choices": [(f"{one.name} · {one.id}", one.id) for one in views],
            "first": shown.id if shown else None,
        },
    }


def _make_list(choices: list[tuple[str, str]]) -> dict[str, Any]:
    return {"choices": choices, "first": choices[0][1] if choices else None}
