"""Runs from end to end on the small model: exact, resumable, and right in other programs."""

import hashlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.trainer.conftest import ROOT, asking, load_plain, write_images
from trainer.commands import export_checkpoint, train
from trainer.config import AdapterConfig
from trainer.device import open_device_context
from trainer.export import ExportError, read_adapter_file
from trainer.inference.sampling import generate, weighted
from trainer.models.family import GenerationRequest
from trainer.runs import (
    RunError,
    own_folder,
    read_events,
    read_requests,
    read_status,
    request,
)
from trainer.training.attach import attach_file, attach_new
from trainer.training.loop import read_batches
from trainer.training.loss import compute_losses
from trainer.training.session import open_session
from trainer.training.step import take_step

CPU = torch.device("cpu")


def weights_of(run):
    return load_file(run.list_checkpoints()[-1].path / "adapter.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def events_of(run, kind):
    return [event for event in read_events(run.events_path) if event["event"] == kind]


def test_a_run_ends_finished_with_a_checked_file_of_all_layers(make_run, cache):
    run = make_run("samples.every_steps=2", 'samples.prompts=["a blob"]')
    assert train(run, cache) == "finished"
    status = read_status(run.path)
    assert (status.state, status.step, status.steps) == ("finished", 4, 4)
    exported = events_of(run, "exported")[-1]
    assert exported["file"] == "pico.safetensors"
    assert exported["max_relative_error"] < 1e-6
    assert [event["step"] for event in events_of(run, "sample")] == [0, 2, 4]
    assert all((run.path / event["file"]).is_file() for event in events_of(run, "sample"))
    assert all(e["prompt"] == "zorp, a blob" for e in events_of(run, "sample"))
    assert all(np.isfinite(event["loss"]) for event in events_of(run, "step"))
    before = load_file(run.list_checkpoints()[0].path / "adapter.safetensors")
    assert not same(before, weights_of(run))


def test_the_file_holds_every_layer_that_the_format_knows(make_run, cache, pico):
    run = make_run()
    train(run, cache)
    session = open_session(run, cache)
    layers, names = session.adapters.adapters, session.family.unet_names
    modules = read_adapter_file(run.path / "pico.safetensors", layers, names).modules
    assert modules.keys() == layers.keys()
    ranks = {
        layer: module.tensors["lora_down.weight"].shape[0] for layer, module in modules.items()
    }
    assert ranks["unet.mid_block.resnets.0.conv1"] == 2
    assert ranks["unet.mid_block.resnets.0.time_emb_proj"] == 4


def test_at_step_0_the_output_is_the_base_models(pico):
    context = open_device_context("cpu")
    family = load_plain(pico)
    request = GenerationRequest("a blob", inference_steps=3, width=32, height=32)
    plain = np.asarray(generate(family, context, request))
    adapters = attach_new(family, AdapterConfig(), seed=1, device=CPU)
    assert np.array_equal(plain, np.asarray(generate(family, context, request)))
    with torch.no_grad():
        for parameter in adapters.named_parameters().values():
            parameter.add_(0.3)
    assert not np.array_equal(plain, np.asarray(generate(family, context, request)))
    with weighted([adapters], [0.0]):
        assert np.array_equal(plain, np.asarray(generate(family, context, request)))


@pytest.mark.parametrize("extra", [[], ["optimizer.ema_decay=0.9", "adapter.dropout=0.3"]])
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(make_run, cache, extra):
    whole, parts = make_run(*extra), make_run(*extra, folder="other")
    train(whole, cache)
    for step in (1, 3):
        _stop_at(parts, cache, step)
        assert read_status(parts.path).state == "stopped"
    train(parts, cache)
    assert same(weights_of(whole), weights_of(parts))
    assert (whole.path / "pico.safetensors").stat().st_size > 0
    first, second = (load_file(run.path / "pico.safetensors") for run in (whole, parts))
    assert same(first, second)


def _stop_at(run, cache, step):
    with asking(run, {step: ["stop"]}):
        assert train(run, cache) == "stopped"


def test_a_stop_in_the_last_step_leaves_a_run_finished(make_run, cache):
    run = make_run("train.steps=2")
    with asking(run, {2: ["stop"]}):
        assert train(run, cache) == "finished"
    assert read_status(run.path).state == "finished"
    assert read_requests(run.path) == set()


# The command line, but its ninth step has changed the weights and does not come to an end.
STALLING = """
import sys, time
from app.cli import main
from trainer.training import loop
real = loop.take_step
def take_and_stall(session, batches):
    loss = real(session, batches)
    if session.state.step == 9:
        print("stalled", flush=True)
        time.sleep(900)
    return loss
loop.take_step = take_and_stall
sys.exit(main())
"""


def test_a_killed_run_resumes_to_a_bit_identical_file(make_run, cache, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    changes = ["train.steps=12", "output.checkpoint_every_steps=5"]
    whole, killed = make_run(*changes), make_run(*changes, folder="other")
    command = [sys.executable, "-c", STALLING, "train", str(killed.path)]
    victim = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert train(whole, cache) == "finished"
        assert "stalled\n" in iter(victim.stdout.readline, "")
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    status = read_status(killed.path)
    assert (status.state, status.step) == ("lost", 8)
    assert train(killed, cache) == "finished"
    files = [run.path / "pico.safetensors" for run in (whole, killed)]
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert len(digests) == 1


def test_accumulated_small_batches_equal_one_large_batch(make_run, cache):
    one = make_run("train.batch_size=4")
    four = make_run("train.batch_size=1", "train.accumulate=4", folder="other")
    sessions = [open_session(run, cache) for run in (one, four)]
    for session in sessions:
        session.adapters.train(mode=True)
        batches = read_batches(session)
        losses = [take_step(session, batches) for _ in range(3)]
    del losses
    first, second = (session.adapters.state() for session in sessions)
    start = attach_new(sessions[0].family, sessions[0].config.adapter, 42, CPU).state()
    for name in first:
        moved = (first[name] - start[name]).norm()
        assert (first[name] - second[name]).norm() <= 2e-2 * moved + 1e-9, name


def test_cached_conditioning_gives_the_same_losses_as_a_live_text_encoder(make_run, cache):
    run = make_run("adapter.text_rank=0")
    session = open_session(run, cache)
    batch = next(session.source.plan.read(0))
    cached = compute_losses(session, batch)
    again = compute_losses(session, batch)
    session.encode_captions = session.family.encode_captions
    live = compute_losses(session, batch)
    assert torch.equal(cached, again)
    torch.testing.assert_close(cached, live, rtol=1e-5, atol=1e-6)


def test_gradient_checkpointing_does_not_change_the_gradients(make_run, cache):
    gradients = []
    for index, value in enumerate(("false", "true")):
        run = make_run(f"train.gradient_checkpointing={value}", folder=f"r{index}")
        session = open_session(run, cache)
        session.adapters.train(mode=True)
        compute_losses(session, next(session.source.plan.read(0))).mean().backward()
        named = session.adapters.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in named.items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-7)


def test_training_lowers_the_loss_on_what_is_trained(make_run, cache, settings):
    settings["optimizer"] = {
        "unet_learning_rate": 5e-3,
        "conv_learning_rate": 5e-3,
        "schedule": "constant",
    }
    run = make_run("train.steps=40", "adapter.rank=16", "adapter.alpha=16.0")
    session = open_session(run, cache)
    batches = [batch for batch, _ in zip(session.source.plan.read(1000), range(10), strict=False)]

    def measure():
        with torch.no_grad():
            return torch.cat([compute_losses(session, batch) for batch in batches]).mean().item()

    before = measure()
    stream = read_batches(session)
    for _ in range(40):
        take_step(session, stream)
    assert measure() < 0.9 * before


def test_v_prediction_trains(make_run, cache, pico_v):
    run = make_run(f'base_model.path="{pico_v}"')
    train(run, cache)
    session = open_session(run, cache)
    assert session.family.prediction == "v_prediction"
    assert read_status(run.path).state == "finished"


def test_bf16_trains_on_the_cpu_and_the_adapter_stays_fp32(make_run, cache):
    run = make_run("base_model.precision=bf16", "output.precision=fp16")
    train(run, cache)
    assert all(value.dtype == torch.float32 for value in weights_of(run).values())


def test_diffusers_loads_the_file_and_draws_our_picture(make_run, cache, pico):
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    run = make_run("train.steps=6", "optimizer.unet_learning_rate=0.05", "output.precision=fp16")
    train(run, cache)
    file = run.path / "pico.safetensors"
    pipeline = StableDiffusionPipeline.from_pretrained(pico, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)

    def draw_theirs():
        generator = torch.Generator("cpu").manual_seed(7)
        options = {"num_inference_steps": 4, "guidance_scale": 5.0, "width": 32, "height": 32}
        image = pipeline("zorp, a blob", generator=generator, **options).images[0]
        return np.asarray(image).astype(int)

    plain = draw_theirs()
    state, alphas = pipeline.lora_state_dict(str(file))
    assert len(alphas) == events_of(run, "exported")[-1]["modules"]
    pipeline.load_lora_weights(str(file))
    theirs = draw_theirs()
    context, family = open_device_context("cpu"), load_plain(pico)
    attach_file(family, file, CPU)
    request = GenerationRequest("zorp, a blob", "", 7, 4, 5.0, 32, 32)
    ours = np.asarray(generate(family, context, request)).astype(int)
    assert np.abs(ours - theirs).max() <= 2
    assert np.abs(ours - plain).max() > 10
    loaded = {name for name, _ in pipeline.unet.named_parameters() if "lora_A" in name}
    loaded_text = {n for n, _ in pipeline.text_encoder.named_parameters() if "lora_A" in n}
    assert len(loaded) + len(loaded_text) == len(alphas)
    assert state


def test_a_paused_run_waits_and_goes_on(make_run, cache):
    import threading

    run = make_run("train.steps=6")
    with asking(run, {2: ["pause"]}):

        def resume_when_paused():
            deadline = time.monotonic() + 60
            while read_status(run.path).state != "paused" and time.monotonic() < deadline:
                time.sleep(0.05)
            request(run.path, "resume")

        thread = threading.Thread(target=resume_when_paused)
        thread.start()
        assert train(run, cache) == "finished"
        thread.join()
    assert [e["step"] for e in events_of(run, "paused")] == [2]
    assert [e["step"] for e in events_of(run, "resumed")] == [2]
    assert read_status(run.path).step == 6


def test_save_and_sample_requests_are_obeyed_while_running(make_run, cache):
    run = make_run("samples.every_steps=100")
    with asking(run, {1: ["sample", "save"]}):
        train(run, cache)
    assert 1 in {event["step"] for event in events_of(run, "sample")}
    assert (run.path / "pico-000001.safetensors").is_file()


def test_a_checkpoint_can_be_exported_later(make_run, cache):
    run = make_run()
    train(run, cache)
    path = export_checkpoint(run, cache, 2)
    assert path.name == "pico-000002.safetensors"
    with pytest.raises(RunError, match="there are: 2, 4"):
        export_checkpoint(run, cache, 3)


def test_old_checkpoints_are_removed_when_asked(make_run, cache):
    run = make_run("output.keep_checkpoints=1", "output.checkpoint_every_steps=1")
    train(run, cache)
    assert [checkpoint.step for checkpoint in run.list_checkpoints()] == [4]


def test_buckets_of_several_shapes_train(make_run, cache, tmp_path):
    folder = write_images(tmp_path / "mixed", [(32, 32), (48, 24), (24, 48), (40, 32), (90, 40)])
    run = make_run(f'dataset.path="{folder}"', "train.steps=6")
    train(run, cache)
    assert len(events_of(run, "data")[-1]["buckets"]) >= 3


def test_a_changed_dataset_is_noticed_on_resume(make_run, cache, images):
    run = make_run()
    _stop_at(run, cache, 2)
    (images / "00.txt").write_text("something else", encoding="utf-8")
    (images / "05.png").unlink()
    with pytest.raises(RunError, match=r"05\.png removed; 00\.png changed"):
        train(run, cache)
    status = read_status(run.path)
    assert status.state == "failed"
    assert "start a new run" in status.message


def test_settings_of_the_adapter_cannot_change_within_a_run(make_run, cache):
    run = make_run()
    _stop_at(run, cache, 2)
    text = run.config_path.read_text(encoding="utf-8").replace("rank = 4", "rank = 6", 1)
    run.config_path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="start a new run"):
        train(run, cache)


def test_two_processes_cannot_work_on_one_run(make_run, cache):
    run = make_run()
    with own_folder(run.path), pytest.raises(RunError, match="already being worked on"):
        train(run, cache)
    assert train(run, cache) == "finished"


def test_a_full_disk_ends_the_run_with_a_sentence_and_no_half_checkpoint(make_run, cache):
    run = make_run()
    from trainer.runs import checkpoints as state

    with pytest.MonkeyPatch.context() as patch:

        def fail(*_args):
            raise OSError(28, "No space left on device")

        patch.setattr(state, "write_atomically", fail)
        with pytest.raises(RunError, match="the disk is full"):
            train(run, cache)
    assert read_status(run.path).state == "failed"
    assert not any(run.checkpoints_path.iterdir())
    assert train(run, cache) == "finished"


def test_a_loss_that_is_no_number_ends_the_run_with_advice(make_run, cache):
    run = make_run("optimizer.unet_learning_rate=1.0", "train.recoveries=0")
    from trainer.training import loss as batch_loss

    with pytest.MonkeyPatch.context() as patch:
        real = batch_loss.training_loss
        patch.setattr(batch_loss, "training_loss", lambda *a, **k: real(*a, **k) * float("nan"))
        with pytest.raises(RunError, match="Halve the learning rates"):
            train(run, cache)
    assert read_status(run.path).state == "failed"


def test_a_finished_run_is_not_trained_again_by_accident(make_run, cache):
    run = make_run()
    train(run, cache)
    with pytest.raises(RunError, match="is finished"):
        train(run, cache)
    assert read_status(run.path).state == "finished"


def test_a_sample_says_how_it_was_made(make_run, cache):
    run = make_run("samples.every_steps=4", 'samples.prompts=["a blob"]', "samples.seed=5")
    train(run, cache)
    with Image.open(run.samples_path / "step-000004" / "00.png") as image:
        assert image.info["prompt"] == "zorp, a blob"
        assert "Seed: 5" in image.info["parameters"]


def test_a_run_starts_from_a_files_exact_effect_and_keeps_it(make_run, cache, pico, tmp_path):
    first = make_run()
    assert train(first, cache) == "finished"
    file = tmp_path / "first.safetensors"
    shutil.copy(first.path / "pico.safetensors", file)
    second = make_run(
        f'adapter.start_from="{file}"', "adapter.rank=9", "adapter.text_rank=0", folder="second"
    )
    session = open_session(second, cache)
    trained = attach_file(load_plain(pico), file, CPU).deltas()
    began = session.adapters.deltas()
    assert set(began) == set(trained)
    for layer, delta in trained.items():
        torch.testing.assert_close(began[layer], delta, rtol=1e-5, atol=1e-8)
    file.unlink()  # the run has its own copy
    assert train(second, cache) == "finished"
    moved = attach_file(load_plain(pico), second.path / "pico.safetensors", CPU).deltas()
    assert any(not torch.allclose(moved[layer], trained[layer]) for layer in trained)


def test_a_file_that_cannot_be_started_from_is_named_as_the_person_knows_it(
    make_run, cache, tmp_path
):
    """The run reads its own copy of the file, whose place is nobody's business."""
    file = tmp_path / "mine.safetensors"
    layer = "lora_unet_mid_block_resnets_0_conv1"
    save_file({f"{layer}.diff": torch.zeros(32, 32, 3, 3)}, file)
    run = make_run(f'adapter.start_from="{file}"')
    with pytest.raises(
        ExportError, match=r"^mine\.safetensors holds \S+ as a full difference"
    ) as caught:
        train(run, cache)
    assert ".start" not in str(caught.value)


def test_a_missing_start_file_is_told(make_run, cache, tmp_path):
    run = make_run(f'adapter.start_from="{tmp_path / "gone.safetensors"}"')
    with pytest.raises(ExportError, match=r"gone\.safetensors"):
        train(run, cache)
