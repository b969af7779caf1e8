"""The same promises on a CUDA device. Run with `make gpu-check`."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.conftest import (  # noqa: F401 - fixtures
    asking,
    cache,
    images,
    load_plain,
    make_run,
    pico,
    pico_xl,
    settings,
)
from trainer.commands import train
from trainer.config import AdapterConfig
from trainer.device import open_device_context
from trainer.inference.sampling import generate
from trainer.models.family import GenerationRequest
from trainer.runs import read_events, read_status
from trainer.training.attach import attach_new
from trainer.training.loss import compute_losses
from trainer.training.session import open_session

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_finishes_in_every_precision(make_run, cache, precision):  # noqa: F811
    run = make_run("train.device=cuda", f"base_model.precision={precision}", "train.steps=8")
    assert train(run, cache) == "finished"
    steps = [event for event in read_events(run.events_path) if event["event"] == "step"]
    assert all(np.isfinite(event["loss"]) and event["memory_bytes"] > 0 for event in steps)
    weights = load_file(run.list_checkpoints()[-1].path / "adapter.safetensors")
    assert all(value.dtype == torch.float32 for value in weights.values())


def test_at_step_0_the_output_is_the_base_models(pico):  # noqa: F811
    context = open_device_context("cuda")
    family = load_plain(pico, context.device, context.dtype)
    request = GenerationRequest("a blob", inference_steps=3, width=32, height=32)
    plain = np.asarray(generate(family, context, request))
    attach_new(family, AdapterConfig(), seed=1, device=context.device)
    assert np.array_equal(plain, np.asarray(generate(family, context, request)))


def test_losses_on_the_gpu_equal_those_on_the_cpu_for_the_same_noise(make_run, cache):  # noqa: F811
    losses = []
    for device in ("cpu", "cuda"):
        run = make_run(f"train.device={device}", folder=device)
        session = open_session(run, cache)
        batch = next(session.source.plan.read(0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("trainer.training.loss.sample_randomness", _draw_on_cpu)
            losses.append(compute_losses(session, batch).detach().cpu())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)


def _draw_on_cpu(seeds, shape, process, objective, device):
    from trainer.diffusion import BatchNoise, sample_randomness

    drawn = sample_randomness(seeds, shape, process, objective, torch.device("cpu"))
    moved = (drawn.timesteps, drawn.noise, drawn.latent_noise, drawn.added_noise)
    return BatchNoise(*(tensor.to(device) for tensor in moved))


def test_a_stopped_run_resumes(make_run, cache):  # noqa: F811
    run = make_run("train.device=cuda", "train.steps=6")
    with asking(run, {3: ["stop"]}):
        assert train(run, cache) == "stopped"
    assert train(run, cache) == "finished"
    assert read_status(run.path).step == 6


@pytest.mark.parametrize("offload", ["true", "false"])
def test_sdxl_trains_with_and_without_resting_models(make_run, cache, pico_xl, offload):  # noqa: F811
    run = make_run(
        f'base_model.path="{pico_xl}"', "train.device=cuda", f"train.offload={offload}",
        "samples.every_steps=2",
    )  # fmt: skip
    assert train(run, cache) == "finished"
    losses = [e["loss"] for e in read_events(run.events_path) if e["event"] == "step"]
    assert np.isfinite(losses).all()


def test_resting_models_leave_the_gpu(pico_xl):  # noqa: F811
    family = load_plain(pico_xl, "cuda", torch.float16)
    family.keep_on_device({"unet"})
    assert {p.device.type for p in family.vae.parameters()} == {"cpu"}
    assert {p.device.type for p in family.unet.parameters()} == {"cuda"}
    first = family.generate(GenerationRequest("x", "", 3, 2, 7.0, 32, 32))
    assert np.isfinite(np.asarray(first)).all()
    assert {p.device.type for p in family.vae.parameters()} == {"cpu"}


@pytest.mark.parametrize("kind", ["adamw8bit", "prodigy", "lion", "adafactor", "schedule_free"])
def test_every_optimiser_works_on_the_gpu(make_run, cache, kind):  # noqa: F811
    rate = 1.0 if kind == "prodigy" else 1e-4
    rates = [f"optimizer.{part}_learning_rate={rate}" for part in ("unet", "conv", "text")]
    schedule = "constant" if kind == "schedule_free" else "cosine"
    run = make_run(
        "train.device=cuda", f"optimizer.kind={kind}", f"optimizer.schedule={schedule}", *rates
    )
    assert train(run, cache) == "finished"


def test_4_bit_layers_train_on_the_gpu(make_run, cache, pico_xl):  # noqa: F811
    pytest.importorskip("bitsandbytes")
    run = make_run(f'base_model.path="{pico_xl}"', "train.device=cuda", "base_model.quantize=nf4")
    assert train(run, cache) == "finished"


def test_xformers_predicts_what_sdpa_predicts(pico):  # noqa: F811
    pytest.importorskip("xformers")
    plain = load_plain(pico, "cuda", torch.float16)
    other = load_plain(pico, "cuda", torch.float16, attention="xformers")
    latents = torch.randn(1, 4, 8, 8, device="cuda")
    words = plain.encode_captions(["a cat"])
    timesteps = torch.tensor([500], device="cuda")
    outputs = [each.predict(latents, timesteps, words).float() for each in (plain, other)]
    torch.testing.assert_close(*outputs, rtol=1e-2, atol=1e-2)
