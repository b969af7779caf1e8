"""The preview worker: one load of the base model, weights without reloading."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.commands import serve_previews, train
from trainer.config import BaseModelConfig
from trainer.runs import (
    AdapterChoice,
    PreviewFolder,
    PreviewRequest,
    own_folder,
    read_result,
    request,
    request_preview,
)


@pytest.fixture
def worker(tmp_path):
    folder = PreviewFolder(tmp_path / "preview")
    thread = threading.Thread(target=serve_previews, args=(folder, 900.0))
    thread.start()
    yield folder
    request(folder.path, "stop")
    thread.join(timeout=240)
    assert not thread.is_alive()


@pytest.fixture
def lora(make_run, cache):
    run = make_run("train.steps=3", "optimizer.unet_learning_rate=0.1")
    train(run, cache)
    return str(run.path / "pico.safetensors")


def wait_for(folder, request_id):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        result = read_result(folder, request_id)
        if result.state != "waiting":
            return result
        time.sleep(0.05)
    raise AssertionError("no answer")


def ask(folder, pico, lora, weight, **changes):
    values = {
        "base_model": BaseModelConfig(path=str(pico)),
        "prompt": "a blob",
        "inference_steps": 2,
        "width": 32,
        "height": 32,
        "adapters": (AdapterChoice(path=lora, weight=weight),),
    }
    return wait_for(folder, request_preview(folder, PreviewRequest(**{**values, **changes})))


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_weights_change_the_picture_without_loading_the_base_again(lora, worker, pico):
    results = {weight: ask(worker, pico, lora, weight) for weight in (0.0, 1.0, 2.0)}
    assert all(result.state == "done" for result in results.values())
    assert {result.base_loads for result in results.values()} == {1}
    zero, one, two = (pixels(results[weight].with_path) for weight in (0.0, 1.0, 2.0))
    assert np.array_equal(zero, pixels(results[0.0].without_path))
    assert np.abs(one - zero).max() > 3
    assert np.abs(two - one).max() > 3
    for result in results.values():
        assert np.array_equal(pixels(result.without_path), zero)


def test_two_adapters_can_be_mixed_and_one_taken_off_again(lora, worker, pico, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(lora).read_bytes())
    both = (AdapterChoice(path=lora, weight=0.5), AdapterChoice(path=str(copy), weight=0.5))
    mixed = ask(worker, pico, lora, 1.0, adapters=both)
    single = ask(worker, pico, lora, 1.0)
    none = ask(worker, pico, lora, 1.0, adapters=())
    assert np.abs(pixels(mixed.with_path) - pixels(single.with_path)).max() <= 1
    assert np.array_equal(pixels(none.with_path), pixels(none.without_path))


@pytest.mark.parametrize("extra", [[], ["optimizer.ema_decay=0.5"]])
def test_a_checkpoint_draws_what_its_exported_file_draws(make_run, cache, worker, pico, extra):
    run = make_run("train.steps=3", "optimizer.unet_learning_rate=0.1", *extra)
    train(run, cache)
    checkpoint = run.list_checkpoints()[-1].path / "adapter.safetensors"
    saved = ask(worker, pico, str(checkpoint), 1.0)
    exported = ask(worker, pico, str(run.path / "pico.safetensors"), 1.0)
    assert (saved.state, exported.state) == ("done", "done")
    assert np.abs(pixels(saved.with_path) - pixels(exported.with_path)).max() <= 1
    assert np.abs(pixels(saved.with_path) - pixels(saved.without_path)).max() > 3


def test_a_base_model_from_the_hub_is_found_among_the_downloads(lora, worker, pico):
    downloads = worker.path.parent / "models"
    missing = ask(worker, "anna/pico", lora, 1.0)
    assert "`lorasmith download anna/pico`" in missing.message
    downloads.mkdir()
    (downloads / "anna--pico").symlink_to(pico)
    assert ask(worker, "anna/pico", lora, 1.0).state == "done"


def test_what_goes_wrong_is_told_and_the_worker_lives_on(lora, worker, pico, tmp_path):
    missing = ask(worker, pico, str(tmp_path / "gone.safetensors"), 1.0)
    assert missing.state == "failed"
    assert "gone.safetensors" in missing.message
    nowhere = ask(
        worker, pico, lora, 1.0, base_model=BaseModelConfig(path=str(tmp_path / "nowhere"))
    )
    assert "There is no base model" in nowhere.message
    assert ask(worker, pico, lora, 1.0).state == "done"


def test_of_several_requests_only_the_newest_is_drawn(lora, tmp_path, pico):
    folder = PreviewFolder(tmp_path / "preview")
    wanted = PreviewRequest(
        base_model=BaseModelConfig(path=str(pico)),
        prompt="x",
        inference_steps=2,
        width=32,
        height=32,
    )
    ids = [request_preview(folder, wanted) for _ in range(3)]
    (folder.requests_path / "broken.json").write_text("{")
    serve_previews(folder, 1.0)
    states = [read_result(folder, each) for each in ids]
    assert [state.state for state in states] == ["failed", "failed", "done"]
    assert "newer request" in states[0].message
    assert list(folder.requests_path.iterdir()) == []


def test_there_is_one_worker_per_folder(tmp_path):
    from trainer.runs import RunError

    folder = PreviewFolder(tmp_path / "preview")
    folder.prepare()
    with own_folder(folder.path), pytest.raises(RunError, match="already being worked on"):
        serve_previews(folder, 1.0)
