"""Checkpoints that are damaged are noticed, set aside and told; a changed run is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.conftest import asking, write_images
from trainer.commands import export_checkpoint, train
from trainer.config import change_settings, layer_config
from trainer.runs import RunError, RunFolder, create_run, read_events, read_status, save_config
from trainer.runs.checkpoints import find_damage, set_damaged_aside
from trainer.training.checkpoint import read_weights
from trainer.training.origin import MAY_CHANGE, compare_origins, list_settings
from trainer.training.session import open_session

FILES = ("adapter.safetensors", "training.safetensors", "meta.json", "manifest.json")


def zero_body(path):
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    assert any(data[start:])
    path.write_bytes(data[:start] + bytes(len(data) - start))


def flip_last_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "zeroed body": ("adapter.safetensors", zero_body),
    "zeroed memory": ("training.safetensors", zero_body),
    "one bit": ("adapter.safetensors", flip_last_bit),
    **{f"{name} is cut": (name, cut) for name in FILES},
    **{f"{name} is empty": (name, lambda path: path.write_bytes(b"")) for name in FILES},
    **{
        f"{name} is gone": (name, lambda path: path.unlink())
        for name in FILES
        if name != "meta.json"  # without it a folder counts as none
    },
    "another table": ("meta.json", lambda path: path.write_text("[]")),
    "another manifest": ("manifest.json", lambda path: path.write_text('{"files": {}}')),
}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def warnings_of(run):
    return [e["message"] for e in read_events(run.events_path) if e["event"] == "warning"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, pico):
    """A run of six steps that stopped at 4, with checkpoints at 2 and 4, and the file to expect."""
    folder = tmp_path_factory.mktemp("checkpoints")
    settings = {
        "name": "pico",
        "base_model": {"path": str(pico), "precision": "fp32"},
        "dataset": {
            "path": str(write_images(folder / "images", [(32, 32)] * 4)),
            "resolution": 32,
            "bucket_step": 4,
        },
        "adapter": {"rank": 2, "alpha": 2.0},
        "train": {"steps": 6, "batch_size": 2, "device": "cpu"},
        "samples": {"every_steps": 0},
        "output": {"checkpoint_every_steps": 2, "precision": "fp32"},
    }
    config = layer_config(settings=settings)
    whole, run = create_run(folder / "whole", config), create_run(folder / "runs", config)
    train(whole, folder / "cache")
    with asking(run, {4: ["stop"]}):
        assert train(run, folder / "cache") == "stopped"
    return run, load_file(whole.path / "pico.safetensors"), folder / "cache"


@pytest.fixture
def cache(prepared):
    return prepared[2]


@pytest.fixture
def checkpoints(prepared, tmp_path):
    """A copy of the run, to damage."""
    return RunFolder(shutil.copytree(prepared[0].path, tmp_path / "runs" / "run"))


@pytest.fixture
def stopped(checkpoints, prepared):
    return checkpoints, prepared[1]


def test_a_whole_checkpoint_is_whole(checkpoints):
    assert [find_damage(each) for each in checkpoints.list_checkpoints()] == ["", ""]
    assert set_damaged_aside(checkpoints) == []


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_found_and_set_aside(checkpoints, kind):
    name, damage = DAMAGES[kind]
    newest = checkpoints.list_checkpoints()[-1]
    damage(newest.path / name)
    assert name in find_damage(newest)
    (message,) = set_damaged_aside(checkpoints)
    assert name in message
    assert "steps from 3 to 4 are trained again" in message
    assert [each.step for each in checkpoints.list_checkpoints()] == [2]
    assert (checkpoints.checkpoints_path / "step-000004.damaged").is_dir()
    with pytest.raises(RunError, match="damaged"):
        read_weights(checkpoints.checkpoints_path / "step-000004.damaged")


@pytest.mark.parametrize("field", ["step", "optimizer", "examples", "scaler"])
@pytest.mark.parametrize("value", ["missing", None, "text"])
def test_a_field_that_is_missing_or_of_another_type_is_damage(checkpoints, field, value):
    newest = checkpoints.list_checkpoints()[-1]
    meta = json.loads((newest.path / "meta.json").read_text())
    if value == "missing":
        del meta[field]
    else:
        meta[field] = value
    (newest.path / "meta.json").write_text(json.dumps(meta))
    assert f"field {field}" in find_damage(newest)


def test_a_step_that_is_not_the_folders_is_damage(checkpoints):
    newest = checkpoints.list_checkpoints()[-1]
    meta = json.loads((newest.path / "meta.json").read_text())
    (newest.path / "meta.json").write_text(json.dumps({**meta, "step": 1_000_000_000}))
    assert "1000000000" in find_damage(newest)


def test_deep_nesting_is_damage(checkpoints):
    newest = checkpoints.list_checkpoints()[-1]
    (newest.path / "meta.json").write_text("[" * 100_000)
    assert "meta.json" in find_damage(newest)


def test_a_checkpoint_from_before_there_was_a_manifest_is_whole(checkpoints):
    newest = checkpoints.list_checkpoints()[-1]
    meta = json.loads((newest.path / "meta.json").read_text())
    for field in ("version", "settings", "base_model"):
        del meta[field]
    (newest.path / "meta.json").write_text(json.dumps(meta))
    (newest.path / "manifest.json").unlink()
    assert find_damage(newest) == ""
    cut(newest.path / "training.safetensors")
    assert "training.safetensors" in find_damage(newest)


def test_a_resumed_run_falls_back_and_gives_the_same_file(stopped, cache):
    run, expected = stopped
    zero_body(run.list_checkpoints()[-1].path / "adapter.safetensors")
    assert train(run, cache) == "finished"
    assert same(load_file(run.path / "pico.safetensors"), expected)
    (message,) = warnings_of(run)
    assert "steps from 3 to 4 are trained again" in message
    started = [e["from_step"] for e in read_events(run.events_path) if e["event"] == "started"]
    assert started == [0, 2]


def test_a_run_without_a_whole_checkpoint_begins_again(stopped, cache):
    run, expected = stopped
    for checkpoint in run.list_checkpoints():
        cut(checkpoint.path / "training.safetensors")
    assert train(run, cache) == "finished"
    assert same(load_file(run.path / "pico.safetensors"), expected)
    assert len(warnings_of(run)) == 2
    assert len(list(run.checkpoints_path.glob("*.damaged"))) == 2


def test_a_checkpoint_that_may_not_be_read_is_not_set_aside(checkpoints, monkeypatch):
    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("trainer.runs.checkpoints._hash", refuse)
    with pytest.raises(RunError, match="permission was denied"):
        set_damaged_aside(checkpoints)
    assert len(checkpoints.list_checkpoints()) == 2


def test_an_export_of_a_damaged_checkpoint_is_refused(stopped, cache):
    run, _ = stopped
    flip_last_bit(run.list_checkpoints()[-1].path / "adapter.safetensors")
    with pytest.raises(RunError, match="step-000004 is damaged"):
        export_checkpoint(run, cache, 4)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("optimizer.kind", "lion"),
        ("train.batch_size", 1),
        ("train.seed", 7),
        ("objective.loss", "l1"),
        ("dataset.flip", True),
        ("base_model.clip_skip", 2),
        ("adapter.alpha", 1.0),
    ],
)
def test_a_setting_that_decides_the_result_cannot_change(stopped, cache, path, value):
    run, _ = stopped
    before = run.config.model_dump()
    save_config(run, change_settings(run.config, {path: value}))
    section, name = path.split(".")
    with pytest.raises(RunError, match=f"{path} was {before[section][name]!r} and is {value!r}"):
        train(run, cache)
    assert read_status(run.path).state == "failed"


def test_what_may_change_may_change(stopped, cache):
    run, _ = stopped
    values = {
        "train.steps": 5,
        "train.micro_batch": 1,
        "train.gradient_checkpointing": True,
        "optimizer.unet_learning_rate": 1e-5,
        "output.title": "A title",
        "samples.seed": 9,
    }
    save_config(run, change_settings(run.config, values))
    assert train(run, cache) == "finished"


def test_steps_below_the_checkpoint_are_refused(stopped, cache):
    run, _ = stopped
    save_config(run, change_settings(run.config, {"train.steps": 3}))
    with pytest.raises(RunError, match=r"train\.steps is 3, and .* checkpoint at step 4"):
        train(run, cache)


def test_a_folder_with_an_absurd_step_does_not_finish_a_run(stopped, cache):
    run, _ = stopped
    newest = run.list_checkpoints()[-1].path
    shutil.copytree(newest, newest.with_name("step-1000000000"))
    assert train(run, cache) == "finished"
    assert read_status(run.path).step == 6
    assert (newest.with_name("step-1000000000.damaged")).is_dir()


def test_changed_weights_of_the_base_model_are_noticed(make_run, cache, pico, tmp_path):
    model = shutil.copytree(pico, tmp_path / "model")
    run = make_run(f'base_model.path="{model}"')
    with asking(run, {2: ["stop"]}):
        train(run, cache)
    path = next((model / "unet").glob("*.safetensors"))
    tensors = load_file(path)
    name = sorted(tensors)[0]
    save_file({**tensors, name: tensors[name] + 1}, path)
    with pytest.raises(RunError, match="has another unet"):
        train(run, cache)
    save_file(tensors, path, metadata={"note": "another header, the same weights"})
    assert train(run, cache) == "finished"


def test_a_changed_scheduler_is_noticed(make_run, cache, pico, tmp_path):
    model = shutil.copytree(pico, tmp_path / "model")
    run = make_run(f'base_model.path="{model}"')
    with asking(run, {2: ["stop"]}):
        train(run, cache)
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.02}))
    with pytest.raises(RunError, match="has another scheduler"):
        train(run, cache)


def test_a_moved_base_model_is_the_same(make_run, cache, pico, tmp_path):
    run = make_run()
    with asking(run, {2: ["stop"]}):
        train(run, cache)
    model = shutil.copytree(pico, tmp_path / "moved")
    save_config(run, change_settings(run.config, {"base_model.path": str(model)}))
    assert train(run, cache) == "finished"


def test_every_setting_of_the_list_exists(make_run):
    tree = make_run().config.model_dump()
    for path in MAY_CHANGE:
        value = tree
        for name in path.split("."):
            value = value[name]
    assert "optimizer.kind" in list_settings(make_run().config)
    assert not MAY_CHANGE & list_settings(make_run().config).keys()


def test_a_setting_that_the_checkpoint_does_not_know_is_compared_to_its_default(stopped, cache):
    run, _ = stopped
    newest = run.list_checkpoints()[-1]
    session = open_session(run, cache)
    meta = json.loads((newest.path / "meta.json").read_text())
    del meta["settings"]["dataset.flip"]
    compare_origins(meta, session.origin)
    session.config = change_settings(session.config, {"dataset.flip": True})
    with pytest.raises(RunError, match=r"dataset\.flip was False and is True"):
        compare_origins(meta, session.origin)
