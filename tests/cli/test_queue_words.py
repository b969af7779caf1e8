"""The words of `lorasmith queue`, and what the queue means for a run that is started by hand."""

import json
import os

import pytest

from app.cli import main
from tests.trainer.conftest import build_pico, write_images
from tests.trainer.test_queue_worker import make_run
from trainer.runs import read_events, read_status
from trainer.runs.queue import add_run, own_devices, pause_queue, read_queue, start_queue


@pytest.fixture
def root(tmp_path):
    """A workspace whose queue is paused, so that nothing here starts a worker."""
    folder = tmp_path / "workspace"
    pause_queue(folder)
    return folder


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    return build_pico(tmp_path_factory.mktemp("queue") / "model")


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", [(32, 32)] * 4)


def call(root, *words):
    return main(["queue", *words, f"--workspace={root}"])


def test_an_empty_queue_reports_what_to_do(root, capsys):
    assert call(root, "list") == 0
    assert "lorasmith queue add" in capsys.readouterr().out


def test_runs_are_listed_moved_and_removed(root, capsys):
    a, b, c = (make_run(root, name, "cpu") for name in "abc")
    for run in (a, b, c):
        add_run(root, run)
    assert call(root, "move", c.id, "1") == 0
    assert "place 1 of 3" in capsys.readouterr().out
    assert call(root, "move", str(a.path), "--at=2095-12-31 23:30") == 0
    assert "place 2 of 3, not before 2095-12-31 23:30" in capsys.readouterr().out
    assert call(root, "remove", b.id) == 0
    assert "the run is still in" in capsys.readouterr().out
    assert call(root, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"1  {c.id}  cpu  waiting"
    assert lines[1] == f"2  {a.id}  cpu  waiting until 2095-12-31 23:30"
    assert "lorasmith queue start" in lines[2]
    assert call(root, "list", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(row["run"], row["state"], row["place"]) for row in answer["runs"]] == [
        (c.id, "waiting", 1),
        (a.id, "waiting", 2),
    ]
    assert answer["paused"] is True
    assert answer["runs"][0]["status"]["state"] == "queued"


def test_a_queue_that_nobody_works_on_reports_it(root, capsys):
    add_run(root, make_run(root, "a"))
    start_queue(root)
    assert call(root, "list") == 0
    assert "No worker is running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["move", "RUN"], "Give a place"),
        (["move", "RUN", "0", "--at=never"], "is no time"),
        (["move", "RUN", "-1"], "There is no place -1"),
        (["move", "RUN", "--at=2001-01-01"], "in the past"),
        (["remove", "nothing"], "is not a run"),
        (["add", "RUN", "--at=late"], "is no time"),
        (["add", "nothing"], "is not a run"),
    ],
)
def test_what_is_not_possible_is_one_sentence(root, capsys, words, message):
    run = make_run(root, "a")
    add_run(root, run)
    assert call(root, *(run.id if word == "RUN" else word for word in words)) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert [each.run for each in read_queue(root).entries] == [run.id]


def test_a_run_whose_folder_is_gone_can_be_removed(root, capsys):
    run = make_run(root, "a")
    add_run(root, run)
    run.path.rename(root / "elsewhere")
    assert call(root, "remove", run.id) == 0
    assert read_queue(root).entries == ()


def add_pico(root, pico, images, *words):
    return call(
        root, "add", f"--dataset={images}", f"--base-model={pico}", "--name=pico",
        "--set=train.steps=2", "--set=samples.every_steps=0", "--set=dataset.resolution=32",
        "--set=dataset.bucket_step=4", "--set=train.batch_size=2", *words,
    )  # fmt: skip


def test_a_new_run_is_made_and_added(root, pico, images, capsys):
    assert add_pico(root, pico, images, "--device=cpu", "--at=+2h") == 0
    output = capsys.readouterr().out
    assert "place 1 in the queue, not before 20" in output
    assert "The queue is paused" in output
    (entry,) = read_queue(root).entries
    (run,) = (root / "runs").iterdir()
    assert entry.run == run.name
    assert 'device = "cpu"' in (run / "config.toml").read_text()
    assert call(root, "add", run.name) == 2
    assert "in the queue already" in capsys.readouterr().err


def test_settings_that_cannot_be_trained_are_refused_before_a_run_is_made(
    root, pico, images, capsys
):
    assert add_pico(root, pico, images, "--device=toaster") == 2
    assert "train.device" in capsys.readouterr().err
    assert add_pico(root, root / "gone", images) == 2
    assert not (root / "runs").exists()


@pytest.fixture
def waiting(root, pico, images, capsys):
    """A run of two steps in the paused queue."""
    assert add_pico(root, pico, images, "--device=cpu") == 0
    capsys.readouterr()
    return root / "runs" / read_queue(root).entries[0].run


def test_a_run_started_by_hand_trains_beside_another_and_reports_it(root, waiting, capsys):
    with own_devices(root, ["cpu"]):
        assert main(["train", waiting.name, f"--workspace={root}"]) == 0
    output = capsys.readouterr().out
    assert f"cpu is in use by process {os.getpid()}" in output
    assert "This run starts all the same" in output
    assert read_status(waiting).state == "finished"


def test_a_run_of_the_queue_does_not_begin_where_the_device_is_in_use(root, waiting, capsys):
    with own_devices(root, ["cpu"]):
        assert main(["train", waiting.name, "--on=cpu", f"--workspace={root}"]) == 2
    assert "cpu is in use by process" in capsys.readouterr().err
    assert [each["event"] for each in read_events(waiting / "events.jsonl")] == ["queued", "queued"]
    assert main(["train", waiting.name, "--on=cpu", f"--workspace={root}"]) == 0
    assert "in use" not in capsys.readouterr().out


def test_devices_are_listed_as_auto_takes_them(capsys):
    import torch

    assert main(["queue", "devices", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert names[-1] == "cpu"
    assert len(names) - 1 == torch.cuda.device_count() + torch.backends.mps.is_available()
