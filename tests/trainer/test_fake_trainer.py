"""The app's tests run on a fake trainer: it writes the same events as the real one."""

import itertools

import pytest

from tests.app import fake_trainer
from tests.trainer.conftest import asking, write_images
from trainer.commands import train
from trainer.config import layer_config
from trainer.runs import create_run, read_events, read_status, request

SETTINGS = {
    "name": "pico",
    "train": {"steps": 8, "device": "cpu", "log_every_steps": 1},
    "samples": {"every_steps": 3, "prompts": ["a blob", "two blobs"], "inference_steps": 1},
    "output": {"checkpoint_every_steps": 4},
}
STARTS = 3
# Requests by the step at which they are made. At 6 and at 7 the run stops and is started again.
REQUESTS = {1: ["sample"], 2: ["save"], 5: ["pause"], 6: ["stop"], 7: ["pause"]}
EVERY_KIND = {
    "queued", "started", "data", "cache", "step", "sample", "checkpoint", "paused", "resumed",
    "exported", "ended",
}  # fmt: skip


def run_real(run, cache):
    with asking(run, REQUESTS), pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.training.loop.time.sleep", lambda _: wake(run))
        return [train(run, cache) for _ in range(STARTS)]


def run_fake(run):
    real = fake_trainer.report_step

    def report_and_ask(run, step):
        real(run, step)
        for what in REQUESTS.get(step, ()):
            request(run.path, what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_trainer, "SECONDS_PER_STEP", 0.0)
        patch.setattr(fake_trainer, "report_step", report_and_ask)
        patch.setattr(fake_trainer.time, "sleep", lambda _: wake(run))
        for _ in range(STARTS):
            fake_trainer.train(run.path)


def wake(run):
    """Instead of a wait: a pause ends, at step 5 by going on and at step 7 by a stop."""
    status = read_status(run.path)
    if status.state == "paused":
        request(run.path, "resume" if status.step == 5 else "stop")


def name_type(value):
    """The type as a reader of JSON sees it, with those of a dictionary's values."""
    if isinstance(value, dict):
        return {name_type(each) for each in value.values()}
    return type(value).__name__


def describe(events):
    """The kind of each event, in order, and its fields with their types.

    The number of prepared images depends on the dataset, so those in a row count as one.
    """
    pairs = [
        (event["event"], [(name, name_type(value)) for name, value in event.items()])
        for event in events
    ]
    return [
        each for kind, group in itertools.groupby(pairs, key=lambda pair: pair[0])
        for each in (itertools.islice(group, 1) if kind == "cache" else group)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, pico):
    """The events of the same run by the real trainer and by the fake one."""
    folder = tmp_path_factory.mktemp("fake-trainer")
    images = write_images(folder / "images", [(32, 32)] * 2)
    base = {"base_model": {"path": str(pico), "precision": "fp32"}}
    dataset = {"dataset": {"path": str(images), "resolution": 32, "bucket_step": 4}}
    config = layer_config(settings={**SETTINGS, **base, **dataset})
    real, fake = (create_run(folder / name, config) for name in ("real", "fake"))
    assert run_real(real, folder / "cache") == ["stopped", "stopped", "finished"]
    run_fake(fake)
    return [read_events(run.events_path) for run in (real, fake)]


def test_the_fake_trainer_writes_the_events_of_the_real_one(recorded):
    real, fake = recorded
    assert [kind for kind, _ in describe(fake)] == [kind for kind, _ in describe(real)]
    for own, expected in zip(describe(fake), describe(real), strict=True):
        assert own == expected
    assert {event["event"] for event in real} == EVERY_KIND


def test_the_fake_trainer_names_the_same_steps_and_files(recorded):
    """Where both know a number or a path, it is the same."""
    shared = {"from_step", "step", "steps", "index", "seed", "weight", "file", "folder", "what",
              "reason", "message"}  # fmt: skip

    def pick(events):
        return [
            {"event": e["event"]} | {key: e[key] for key in shared & set(e)}
            for e in events if e["event"] != "cache"
        ]  # fmt: skip

    real, fake = map(pick, recorded)
    assert fake == real
    assert [e["step"] for e in real if e["event"] == "ended"] == [6, 7, 8]
