"""Each run is read behind its own guard, and a look at all of them costs what changed."""

import json
import os
import time

import pytest

from app.cli import main
from app.core import run_lists
from app.core.examples import look_once
from app.core.run_lists import choose_run, find_busy_run, list_run_views
from app.web.page import list_views
from trainer.config import RunConfig
from trainer.runs import append_event, create_run, own_folder, read_status

GOOD = '{"event": "started", "time": 1.0, "from_step": 0, "steps": 9}\n'
ENDED = '{"event": "ended", "time": 2.0, "reason": "stopped", "message": "", "step": 3}\n'
BAD_LINES = {
    "step is null": '{"event": "step", "step": null}',
    "step is a text": '{"event": "step", "step": "3", "steps": 9, "loss": 1.0}',
    "step is endless": '{"event": "step", "step": 1e999}',
    "step has 5000 digits": '{"event": "step", "step": ' + "9" * 5000 + "}",
    "time is a text": '{"event": "step", "time": "yesterday", "step": 3}',
    "loss is a list": '{"event": "step", "step": 3, "loss": []}',
    "deep nesting": "[" * 100_000,
    "deep table": '{"event": "step", "step": ' + '{"a":' * 500 + "1" + "}" * 501,
    "half a pair": '{"event": "warning", "message": "\\ud800"}',
    "no text": "\udcff",
    "a number": "7",
    "message is a table": '{"event": "ended", "reason": "failed", "message": {"a": 1}}',
    "kind is a list": '{"event": ["ended"]}',
    "longer than any event": '{"event": "warning", "message": "' + "x" * (3 * 1024**2) + '"}',
}


@pytest.fixture
def many(workspace):
    """Three runs that stopped, whose folder of runs has rested for a while."""
    runs = []
    for index in range(3):
        run = create_run(workspace.runs_path, RunConfig(name=f"run-{index}"))
        with run.events_path.open("a", encoding="utf-8") as file:
            file.write(GOOD + ENDED)
        runs.append(run)
    rest(workspace)
    return runs


def rest(workspace):
    """Lets the folder of runs look as if nothing had changed for a minute."""
    moment = time.time() - 60
    os.utime(workspace.runs_path, (moment, moment))


def show_everything(workspace):
    """Asks for everything that the page polls."""
    with look_once():
        for view in list_views().values():
            view.read_version(workspace, {})
            view.render(workspace, {})


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_damaged_line_is_told_and_harms_nobody(workspace, many, kind, capsys):
    with many[1].events_path.open("ab") as file:
        file.write(BAD_LINES[kind].encode("utf-8", "surrogateescape") + b"\n")
    views = {view.name: view for view in list_run_views(workspace)}
    assert {view.state for view in views.values()} == {"stopped"}
    assert "events.jsonl is damaged" in views["run-1"].message
    assert not any("damaged" in views[name].message for name in ("run-0", "run-2"))
    show_everything(workspace)
    assert main(["status", "--workspace", str(workspace.root)]) == 0
    assert "events.jsonl is damaged" in capsys.readouterr().out


def test_a_run_of_damaged_lines_alone_is_damaged_and_can_be_resumed(workspace, many):
    many[0].events_path.write_text('{"event": "started", "time": "x"}\n' * 3)
    view = next(view for view in list_run_views(workspace) if view.id == many[0].id)
    assert (view.state, view.can_resume) == ("damaged", True)
    assert "events.jsonl is damaged" in view.message
    show_everything(workspace)


def test_events_that_are_a_folder_are_damaged(workspace, many, capsys):
    many[0].events_path.unlink()
    many[0].events_path.mkdir()
    states = {view.id: view.state for view in list_run_views(workspace)}
    assert [states[run.id] for run in many] == ["damaged", "stopped", "stopped"]
    assert "it is a folder" in read_status(many[0].path).message
    show_everything(workspace)
    assert main(["status", "--workspace", str(workspace.root)]) == 0


@pytest.mark.parametrize("name", ["process.json", "starting.json", "config.toml"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"pid": "x"}', "[]", "", "\0", '{"pid": 1, "host": [], "a": 2}'],
    ids=["deep", "wrong", "list", "empty", "null", "types"],
)  # fmt: skip
def test_a_damaged_file_of_a_run_harms_nobody(workspace, many, name, content):
    (many[1].path / name).write_text(content)
    assert len(list_run_views(workspace)) == 3
    show_everything(workspace)


def test_a_look_at_runs_that_rest_reads_none_of_them(workspace, many, monkeypatch):
    assert len(list_run_views(workspace)) == 3
    read = []
    monkeypatch.setattr(run_lists, "view_run", lambda run: read.append(run.id))
    for _ in range(20):
        assert len(list_run_views(workspace)) == 3
    assert read == []


def test_a_look_reads_the_run_that_is_worked_on_and_a_few_others(workspace, monkeypatch):
    runs = [create_run(workspace.runs_path, RunConfig(name=f"r{i}")) for i in range(40)]
    with own_folder(runs[7].path):
        append_event(runs[7].events_path, "started", from_step=0, steps=9)
        rest(workspace)
        assert find_busy_run(workspace).name == "r7"
        looks, reads = [], []
        real_look, real_read = run_lists._RunViews._look, run_lists.view_run

        def look(self, run):
            looks.append(run.id)
            real_look(self, run)

        monkeypatch.setattr(run_lists._RunViews, "_look", look)
        monkeypatch.setattr(run_lists, "view_run", lambda r: reads.append(r.id) or real_read(r))
        list_run_views(workspace)
        assert len(looks) <= 1 + run_lists._IN_TURN
        assert reads == [runs[7].id]


def test_a_run_that_begins_and_one_that_ends_are_noticed_at_once(workspace, many):
    assert find_busy_run(workspace) is None
    with own_folder(many[2].path):
        append_event(many[2].events_path, "started", from_step=0, steps=9)
        assert find_busy_run(workspace).id == many[2].id
        assert choose_run(list_run_views(workspace)).id == many[2].id
        append_event(many[2].events_path, "step", step=4, steps=9, loss=0.5)
        assert find_busy_run(workspace).step == 4
    assert find_busy_run(workspace) is None


def test_a_run_that_comes_and_one_that_goes_are_noticed_at_once(workspace, many):
    assert len(list_run_views(workspace)) == 3
    version = list_run_views(workspace).version
    new = create_run(workspace.runs_path, RunConfig(name="new"))
    assert {view.id for view in list_run_views(workspace)} == {*(r.id for r in many), new.id}
    assert list_run_views(workspace).version != version
    new.path.rename(workspace.root / "elsewhere")
    assert {view.id for view in list_run_views(workspace)} == {run.id for run in many}


def test_a_folder_becomes_a_run_with_its_config_later(workspace, many):
    path = workspace.runs_path / "2026-01-01_0000_late"
    path.mkdir()
    rest(workspace)
    assert len(list_run_views(workspace)) == 3
    (path / "config.toml").write_text('name = "late"\n')
    rest(workspace)
    assert len(list_run_views(workspace)) == 4


def test_a_file_that_somebody_changed_by_hand_is_noticed_in_turn(workspace):
    runs = [create_run(workspace.runs_path, RunConfig(name=f"r{i}")) for i in range(30)]
    rest(workspace)
    list_run_views(workspace)
    with runs[11].events_path.open("a") as file:
        file.write(GOOD + ENDED)
    for _ in range(30 // run_lists._IN_TURN + 1):
        views = list_run_views(workspace)
    assert views.by_id[runs[11].id].state == "stopped"


def test_a_log_that_was_replaced_is_read_anew(workspace, many):
    list_run_views(workspace)
    many[0].events_path.unlink()
    many[0].events_path.write_text(json.dumps({"event": "queued", "time": 1.0, "name": "again"}))
    with many[0].events_path.open("a") as file:
        file.write("\n")
    assert "again" in {view.name for view in list_run_views(workspace)}
