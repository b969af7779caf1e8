"""Runs, files and bundles that cannot be written: a sentence with the remedy that fits."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from app.cli import main
from datasets_tools import files
from datasets_tools.disk import FileHeldError
from datasets_tools.errors import LorasmithError
from tests.trainer.test_export import make_factors, write_lora
from tests.trainer.test_headers import facts
from trainer.commands import train
from trainer.commands.training import export_checkpoint
from trainer.config import RunConfig
from trainer.export import make_civitai_zip, make_hub_folder, write_embedding
from trainer.export.publish.images import write_preview
from trainer.export.publish.sidecars import write_sidecars
from trainer.runs import (
    RunError,
    RunWriteError,
    append_event,
    clear_requests,
    create_run,
    own_folder,
    read_status,
    request,
    save_config,
)

FULL = "Free some space"
HELD = FileHeldError(errno.EACCES, "x is open in python (process 7); close it there", "x")
# Why nothing can be written, and the advice.
REASONS = {
    "full": (OSError(errno.ENOSPC, "No space left on device"), FULL),
    "read-only": (OSError(errno.EROFS, "Read-only file system"), "Make it writable"),
    "denied": (OSError(errno.EACCES, "Permission denied"), "Check the rights"),
    "gone": (OSError(errno.ESTALE, "Stale file handle"), "Connect it again"),
    "held": (HELD, "close it there"),
}


@pytest.fixture(params=REASONS)
def advice(request, monkeypatch):
    """Nothing can be written; the advice that belongs to the reason."""
    error, advice = REASONS[request.param]

    def fail(*_args):
        raise error

    monkeypatch.setattr(files, "_write_and_flush", fail)
    return advice


def check(raised, advice):
    assert advice in str(raised.value)
    assert (FULL in str(raised.value)) == (advice == FULL)


WRITERS = {
    "file": lambda folder: write_lora(folder / "x.safetensors", make_factors(), {}, "fp16"),
    "sidecar": lambda folder: write_sidecars(
        folder / "x.safetensors", RunConfig(), facts(), [folder / "none.png"]
    ),
    "picture": lambda folder: write_preview(folder / "x.png", [folder / "image.png"]),
    "embedding": lambda folder: write_embedding(
        folder / "x.safetensors", "zorp", [torch.ones(1, 4)], {}
    ),
    "run": lambda folder: create_run(folder / "runs", RunConfig()),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_cannot_be_written_has_the_advice_of_its_reason(tmp_path, advice, writer):
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    with pytest.raises(LorasmithError) as raised:
        WRITERS[writer](tmp_path)
    check(raised, advice)


@pytest.mark.parametrize("make", [make_hub_folder, make_civitai_zip])
@pytest.mark.parametrize("reason", REASONS)
def test_a_bundle_that_cannot_be_written_has_the_advice_of_its_reason(
    tmp_path, monkeypatch, make, reason
):
    family = {"modelspec.architecture": "stable-diffusion-v1/lora"}
    write_lora(tmp_path / "x.safetensors", make_factors(), family, "fp16")
    error, advice = REASONS[reason]

    def fail(*_args):
        raise error

    monkeypatch.setattr("trainer.export.publish.bundle.temporary_folder", fail)
    with pytest.raises(LorasmithError) as raised:
        make(tmp_path / "x.safetensors", tmp_path / "to")
    check(raised, advice)


PLACES = {
    "checkpoint": (
        "trainer.runs.checkpoints.write_atomically", "The checkpoint at step 2 could not be"
    ),
    "samples": ("trainer.training.samples.save_image", "The samples at step 0 could not be saved"),
    "export": ("trainer.training.artifacts.write_aside", "pico.safetensors could not be written"),
}  # fmt: skip
# One reason a place; the advice of each is tested with what is quick to fail, above.
FAST = {"checkpoint": "full", "samples": "denied", "export": "gone"}


def list_failures():
    for name, (place, part) in PLACES.items():
        for reason in REASONS:
            marks = [] if FAST[name] == reason else [pytest.mark.slow]
            yield pytest.param(place, part, reason, marks=marks, id=f"{name}-{reason}")


@pytest.mark.parametrize(("place", "part", "reason"), list_failures())
def test_a_run_that_cannot_save_fails_with_the_advice_of_its_reason(
    make_run, cache, monkeypatch, place, part, reason
):
    run = make_run("samples.every_steps=4", "train.steps=2")
    error, advice = REASONS[reason]

    def fail(*_args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(LorasmithError) as raised:
            train(run, cache)
    check(raised, advice)
    assert part in str(raised.value)
    status = read_status(run.path)
    assert status.state == "failed"
    # Two steps are learned; what of them a checkpoint holds is added.
    repeats = "2 steps are trained again" if not run.list_checkpoints() else ""
    again = f" There is no checkpoint, so starting it again begins at step 0: {repeats}."
    assert status.message == f"{raised.value}{again if repeats and status.step else ''}"
    assert train(run, cache) == "finished"


def test_settings_that_cannot_be_saved_have_the_advice_of_the_reason(make_run, monkeypatch):
    run = make_run()
    error, advice = REASONS["read-only"]
    monkeypatch.setattr(files, "_write_and_flush", lambda *_args: (_ for _ in ()).throw(error))
    with pytest.raises(RunError) as raised:
        save_config(run, run.config)
    check(raised, advice)


# --- folders that are gone ----------------------------------------------------------------------


@pytest.mark.usefixtures("removes_open_files")
def test_a_run_that_is_deleted_while_it_trains_ends_with_a_sentence(make_run, cache, monkeypatch):
    run = make_run("samples.every_steps=1")
    from trainer.training import loop

    real = loop.take_step

    def take_and_delete(session, batches):
        loss = real(session, batches)
        if session.state.step == 2:
            shutil.rmtree(run.path)
        return loss

    monkeypatch.setattr(loop, "take_step", take_and_delete)
    with pytest.raises(RunWriteError, match=f"{run.id} cannot be written: the file or its folder"):
        train(run, cache)
    assert not run.path.exists()  # nor is half a run made in its place


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: append_event(folder / "events.jsonl", "warning", message=""),
        lambda folder: request(folder, "stop"),
    ],
    ids=["event", "request"],
)
def test_a_deleted_folder_is_named_and_not_made_again(tmp_path, act):
    with pytest.raises(RunWriteError, match=r"gone cannot be written: .* Restore it") as raised:
        act(tmp_path / "gone")
    assert raised.value.errno == errno.ENOENT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("removes_open_files")
def test_the_first_error_is_told_where_the_folder_went_with_it(make_run, cache, monkeypatch):
    run = make_run()

    def fail(*_args, **_options):
        shutil.rmtree(run.path)
        msg = "the real reason."
        raise RunError(msg)

    monkeypatch.setattr("trainer.commands.training.open_session", fail)
    with pytest.raises(RunError, match="the real reason"):
        train(run, cache)


# --- folders that are read-only -------------------------------------------------------------------


@pytest.fixture
def read_only():
    """Makes folders read-only as a mounted disk is, which holds for root, too."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting takes Linux and root")
    mounted = []

    def mount(folder: Path):
        for options in (["--bind", folder, folder], ["-o", "remount,ro,bind", folder]):
            command = ["mount", *map(str, options)]
            if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                pytest.skip("this system does not let anybody mount")
            if options[0] == "--bind":
                mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_commands_on_a_read_only_run_end_with_a_sentence(
    make_run, cache, tmp_path, read_only, capsys
):
    run = make_run("train.steps=2")
    assert train(run, cache) == "finished"
    started = make_run(folder="others")
    request(run.path, "stop")
    read_only(run.path)
    read_only(started.path.parent)
    before = [sorted(folder.rglob("*")) for folder in (run.path.parent, started.path.parent)]
    for act in (
        lambda: train(started, cache),
        lambda: own_folder(run.path).__enter__(),
        lambda: append_event(run.events_path, "warning", message=""),
        lambda: request(run.path, "pause"),
        lambda: clear_requests(run.path),
        lambda: save_config(run, run.config),
        lambda: export_checkpoint(run, cache),
        lambda: create_run(started.path.parent, RunConfig()),
    ):
        with pytest.raises(LorasmithError, match=r"the disk is read-only. Make it writable"):
            act()
    for words in (["train", str(started.path)], ["export", str(run.path)]):
        assert main([*words, f"--workspace={tmp_path / 'workspace'}"]) == 2
        message = capsys.readouterr().err
        assert "the disk is read-only. Make it writable" in message
        assert FULL not in message
        assert "Traceback" not in message
    after = [sorted(folder.rglob("*")) for folder in (run.path.parent, started.path.parent)]
    assert after == before
    assert read_status(run.path).state == "finished"
    assert main(["status", str(run.path), f"--workspace={tmp_path / 'workspace'}"]) == 0
