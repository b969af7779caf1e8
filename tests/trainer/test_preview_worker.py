"""Previews while they are generated: pictures of each step, cancelling, batches, sizes."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from tests.trainer.conftest import STARTER, load_plain
from trainer.commands import serve_previews, train
from trainer.config import BaseModelConfig
from trainer.inference import preview_worker
from trainer.inference.latent_preview import fit_preview
from trainer.inference.preview_generator import PreviewGenerator, choose_size
from trainer.models.family import GenerationRequest
from trainer.runs import (
    AdapterChoice,
    PreviewFolder,
    PreviewProgress,
    PreviewRequest,
    read_requests,
    read_result,
    request,
    request_preview,
)
from trainer.runs.previews import cancel_preview, read_progress


@pytest.fixture
def folder(tmp_path):
    return PreviewFolder(tmp_path / "preview")


def make_request(base, **changes):
    values = {
        "base_model": BaseModelConfig(path=str(base)),
        "prompt": "a blob",
        "inference_steps": 6,
        "width": 32,
        "height": 32,
    }
    return PreviewRequest(**{**values, **changes})


def pixels(image):
    return np.asarray(image).astype(int)


def at_step(monkeypatch, step, act):
    """Has something happen just before the worker looks whether a step shall be taken."""
    report = preview_worker._Generation._report

    def act_first(self, progress, render):
        if progress.step == step and progress.image == 1:
            act(self._id)
        report(self, progress, render)

    monkeypatch.setattr(preview_worker._Generation, "_report", act_first)


def count_steps(monkeypatch):
    """Returns a list that grows by what the denoiser has been asked for."""
    taken, load = [], PreviewGenerator._load_base

    def load_and_count(self, config):
        loaded = load(self, config)
        if not taken:
            loaded.family.unet.register_forward_pre_hook(lambda *_: taken.append(1))
        return loaded

    monkeypatch.setattr(PreviewGenerator, "_load_base", load_and_count)
    return taken


def test_each_step_shows_how_far_it_is_and_a_picture(folder, pico, monkeypatch):
    monkeypatch.setattr(preview_worker, "_IMAGE_SECONDS", 0)
    seen = []

    def look(request_id, progress):
        with Image.open(folder.results_path / request_id / "progress.png") as picture:
            picture.load()
            seen.append((progress, picture.size))

    write = preview_worker.write_progress

    def write_and_look(*values):
        write(*values)
        look(values[1], read_progress(*values[:2]))

    monkeypatch.setattr(preview_worker, "write_progress", write_and_look)
    request_id = request_preview(folder, make_request(pico, inference_steps=3))
    assert read_progress(folder, request_id) is None
    serve_previews(folder, 0.0)
    steps = [(step, image) for image in (1, 2) for step in (1, 2, 3)]
    # The latents of 32 pixels are 16 wide.
    assert seen == [(PreviewProgress(step, 3, image, 2), (16, 16)) for step, image in steps]
    assert read_result(folder, request_id).state == "done"


def test_a_cancelled_request_takes_no_further_step(folder, pico, monkeypatch):
    taken = count_steps(monkeypatch)
    at_step(monkeypatch, 4, lambda request_id: cancel_preview(folder, request_id))
    request_id = request_preview(folder, make_request(pico, inference_steps=50))
    serve_previews(folder, 0.0)
    assert read_result(folder, request_id).state == "cancelled"
    # The fourth was computed when the worker looked, and is not used; it looks once in each.
    assert len(taken) == 4
    assert read_progress(folder, request_id).step == 3
    assert list(folder.requests_path.iterdir()) == []


def test_a_request_that_is_cancelled_before_its_turn_loads_nothing(folder, pico, monkeypatch):
    taken = count_steps(monkeypatch)
    request_id = request_preview(folder, make_request(pico))
    cancel_preview(folder, request_id)
    serve_previews(folder, 0.0)
    assert read_result(folder, request_id).state == "cancelled"
    assert taken == []


def test_cancelling_what_is_done_changes_nothing(folder, pico):
    request_id = request_preview(folder, make_request(pico, inference_steps=1))
    serve_previews(folder, 0.0)
    done = read_result(folder, request_id)
    cancel_preview(folder, request_id)
    serve_previews(folder, 0.0)
    assert read_result(folder, request_id) == done
    assert done.state == "done"


def test_a_newer_request_ends_the_one_that_is_being_generated(folder, pico, monkeypatch):
    newer = []
    at_step(
        monkeypatch,
        4,
        lambda _: newer or newer.append(request_preview(folder, make_request(pico, seed=2))),
    )
    older = request_preview(folder, make_request(pico, inference_steps=50))
    serve_previews(folder, 0.0)
    assert "newer request" in read_result(folder, older).message
    assert read_progress(folder, older).step == 3
    answer = read_result(folder, newer[0])
    assert (answer.state, answer.base_loads) == ("done", 1)


def test_a_request_that_comes_while_the_worker_leaves_is_answered(folder, pico, monkeypatch):
    from trainer.commands import images

    serve, late = images.serve, []

    def serve_and_ask(*values):
        stopped = serve(*values)
        if not late:
            late.append(request_preview(folder, make_request(pico, inference_steps=1)))
        return stopped

    monkeypatch.setattr(images, "serve", serve_and_ask)
    serve_previews(folder, 0.0)
    assert read_result(folder, late[0]).state == "done"


def test_a_stop_that_comes_while_the_worker_starts_is_obeyed(folder, pico):
    folder.prepare()
    request_id = request_preview(folder, make_request(pico))
    request(folder.path, "stop")
    serve_previews(folder, 900.0)
    assert read_result(folder, request_id).state == "waiting"
    assert read_requests(folder.path) == {"stop"}


def test_seeds_count_up_in_a_batch_and_each_is_the_single_image(folder, pico):
    ids = []
    for changes in ({"count": 3, "seed": 5}, {"seed": 6}, {"seed": 7}):
        ids.append(request_preview(folder, make_request(pico, **changes)))
        serve_previews(folder, 0.0)
    batch, second, third = (folder.results_path / each for each in ids)
    assert read_result(folder, ids[0]).images == 3
    for name, single in (("with-2.png", second), ("with-3.png", third)):
        image = Image.open(batch / name)
        assert np.array_equal(pixels(image), pixels(Image.open(single / "with.png")))
    first = pixels(Image.open(batch / "with.png"))
    assert np.array_equal(first, pixels(Image.open(batch / "without.png")))  # no adapters
    assert not np.array_equal(first, pixels(Image.open(batch / "with-2.png")))


def test_text_encoders_can_carry_another_weight(make_run, cache, pico, tmp_path):
    run = make_run(
        "train.steps=3", "optimizer.unet_learning_rate=0.1", "optimizer.text_learning_rate=0.1"
    )
    train(run, cache)
    file = str(run.path / "pico.safetensors")
    generator = PreviewGenerator(tmp_path)

    def draw(*weights):
        choice = AdapterChoice(path=file, weight=weights[0], text_weight=weights[1])
        images = list(generator.generate(make_request(pico, adapters=(choice,))))
        return [pixels(each.image) for each in images]

    both, plain = draw(1.0, None)
    assert np.array_equal(draw(1.0, 1.0)[0], both)
    assert np.array_equal(draw(0.0, 0.0)[0], plain)
    unet, text, turned = (draw(*each)[0] for each in ((1.0, 0.0), (0.0, 1.0), (-1.0, None)))
    for one, other in ((unet, both), (text, both), (unet, text), (unet, plain), (text, plain)):
        assert np.abs(one - other).max() > 1
    assert np.abs(turned - both).max() > 1
    assert generator.base_loads == 1


def test_equal_settings_give_the_picture_of_diffusers_own_pipeline(tmp_path):
    pipeline = StableDiffusionPipeline.from_pretrained(
        STARTER, safety_checker=None, dtype=torch.float32
    )
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, use_karras_sigmas=True
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "a red cat",
        negative_prompt="a dog",
        generator=torch.Generator("cpu").manual_seed(7),
        num_inference_steps=5,
        guidance_scale=4.0,
        width=128,
        height=96,
    ).images[0]
    wanted = PreviewRequest(
        base_model=BaseModelConfig(path=str(STARTER), precision="fp32"),
        prompt="a red cat",
        negative_prompt="a dog",
        seed=7,
        inference_steps=5,
        guidance=4.0,
        width=128,
        height=96,
        sampler="DPM++ 2M Karras",
    )
    reports = []
    image, _ = PreviewGenerator(tmp_path).generate(
        wanted, lambda progress, render: reports.append((progress, render().size))
    )
    assert np.abs(pixels(image.image) - pixels(theirs)).max() <= 1
    assert len(reports) == 10
    assert reports[6] == (PreviewProgress(2, 5, 2, 2), (16, 12))


def test_the_picture_of_latents_looks_like_the_image_of_the_vae():
    family = load_plain(STARTER)
    shown = []
    wanted = GenerationRequest("a red cat on a hill", seed=3, inference_steps=8)
    (image,) = family.generate_all([wanted], lambda _step, _steps, each: shown.append(each[0]))
    picture = fit_preview(family).render(shown[-1])
    small = image.resize(picture.size, Image.Resampling.BOX)
    likeness = np.corrcoef(pixels(small).ravel(), pixels(picture).ravel())[0, 1]
    assert likeness > 0.85
    assert np.abs(pixels(small) - pixels(picture)).mean() < 32


@pytest.mark.parametrize(
    ("aspect", "size"),
    # Of an area of 512 x 512 at most, in steps of 64, for the nearest ratio.
    [("", (512, 512)), ("1:1", (512, 512)), ("3:2", (640, 384)), ("2:3", (384, 640)),
     ("16:9", (640, 384)), ("1:3", (256, 832))],
)  # fmt: skip
def test_sizes_are_the_buckets_of_the_family(aspect, size):
    assert choose_size(aspect, 512, 64) == size
