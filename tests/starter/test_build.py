"""The stages one after the other: made once, interrupted anywhere, from the seed alone."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from recipe.composing import compose, make_palette
from recipe.errors import OutOfTimeError, RecipeError
from recipe.examples import KINDS, LAYOUTS, load_table
from recipe.pipeline import GOALS
from recipe.settings import SMOKE, assign
from recipe.train_unet import make_unet_loss
from recipe.train_vae import load_vae
from recipe.training import make_device_context

from tests.starter.conftest import STARTER, make_build, read_weights

MACHINE = make_device_context("cpu", compiled=False)


def test_command_line_offers_every_goal(command_line):
    assert set(command_line.GOALS) == set(GOALS)


@pytest.mark.slow
def test_second_run_makes_nothing_anew(build, shared_packages, capsys):
    stages = sorted(path.name for path in build.work.iterdir())
    make_build(build.work, shared_packages).run("model", build.work / "model")
    assert sorted(path.name for path in build.work.iterdir()) == stages
    printed = capsys.readouterr().out
    assert "making" not in printed
    assert printed.count("already there") == 11


def test_other_settings_of_the_unet_leave_the_stages_before_it_alone(build, shared_packages):
    settings = assign(SMOKE, ["unet.learning_rate=0.5"])
    other = make_build(build.work, shared_packages, settings=settings)
    assert other.latents == build.latents
    context = make_device_context("cpu", compiled=False, stop_at=0)
    with pytest.raises(OutOfTimeError):
        make_build(build.work, shared_packages, context, settings).run("unet", build.work / "x")
    assert not (build.work / "x").exists()


@pytest.mark.slow
def test_second_round_alone_is_made_anew_for_its_settings(build, shared_packages, tmp_path):
    shutil.copytree(build.work, tmp_path / "work")
    settings = assign(SMOKE, ["refine.matrix_learning_rate=0.0", "refine.learning_rate=0.0"])
    still = make_build(tmp_path / "work", shared_packages, settings=settings)
    assert still.unet == dataclasses.replace(build.unet, folder=still.unet.folder)
    assert still.refined.key != build.refined.key
    first, unmoved = (read_weights(stage.folder / "unet") for stage in (still.unet, still.refined))
    # Without a learning rate, what comes out is what the round began with: the first one's end.
    assert all(torch.equal(first[name], unmoved[name]) for name in first)
    moved = read_weights(build.refined.folder / "unet")
    assert not any(torch.equal(first[name], moved[name]) for name in first)


def test_weighting_decides_how_much_heavy_noise_counts(build):
    training_set, vocabulary = build.gather_training_set()
    losses = {}
    for name in ("min_snr", "none", "debiased"):
        settings = dataclasses.replace(SMOKE.unet, weighting=name)
        _, loss_at = make_unet_loss(training_set, vocabulary, settings, 0, MACHINE)
        losses[name] = loss_at(0).item()
    # Untrained, a network errs alike at all time steps, so the weights alone set these apart.
    assert losses["min_snr"] < losses["none"] < losses["debiased"]


@pytest.mark.slow
def test_interrupted_build_ends_with_identical_weights(build, shared_packages, tmp_path):
    stops = []
    while len(stops) < 100:
        # Time is over at once, so every call takes one step and stops.
        context = make_device_context("cpu", compiled=False, stop_at=0)
        try:
            make_build(tmp_path, shared_packages, context).run("unet", tmp_path / "model")
            break
        except OutOfTimeError as stop:
            stops.append(str(stop))
    steps = [SMOKE.vae.steps, SMOKE.unet.steps, SMOKE.refine.steps]
    assert sum("step" in text for text in stops) == sum(steps) - len(steps)
    assert sum("image" in text for text in stops) > 1
    for stage in (build.vae, build.unet, build.refined, build.latents):
        again = tmp_path / stage.folder.name
        files = {path.relative_to(stage.folder) for path in stage.folder.rglob("*.*")}
        assert {path.relative_to(again) for path in again.rglob("*.*")} == files
        for name in files:
            if (again / name).is_file():
                assert (again / name).read_bytes() == (stage.folder / name).read_bytes(), name


@pytest.mark.slow
def test_another_seed_gives_other_weights(build, shared_packages, tmp_path):
    settings = assign(SMOKE, ["seed=1"])
    other = make_build(tmp_path, shared_packages, settings=settings)
    assert other.vae.key != build.vae.key
    one, two = (read_weights(each.vae.folder / "vae") for each in (build, other))
    assert not torch.equal(one["decoder.conv_in.weight"], two["decoder.conv_in.weight"])


def test_damaged_checkpoint_is_reported_by_name(shared_packages, tmp_path):
    context = make_device_context("cpu", compiled=False, stop_at=0)
    with pytest.raises(OutOfTimeError):
        make_build(tmp_path, shared_packages, context).run("vae", tmp_path / "model")
    checkpoint = next(tmp_path.glob("vae-*.unfinished/checkpoint.safetensors"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(RecipeError, match=r"checkpoint\.safetensors is damaged"):
        make_build(tmp_path, shared_packages).run("vae", tmp_path / "model")


def test_latents_are_those_of_the_pictures_that_the_captions_describe(build):
    table = load_table(build.worded.folder)
    latents = np.load(build.latents.folder / "latents.npy")
    vae = load_vae(build.vae.folder, MACHINE)
    for kind in range(len(KINDS)):
        row = int(np.flatnonzero(table.kinds == kind)[-1])
        image = compose(
            build.sprites,
            LAYOUTS[table.layouts[row]],
            torch.tensor(table.drawings[row])[None],
            make_palette(MACHINE.device)[table.grounds[row]][None],
        )
        wanted = vae.encode(image).latent_dist.mean * vae.config.scaling_factor
        assert np.abs(latents[row] - wanted[0].detach().numpy()).max() < 0.02


def test_scaled_latents_have_about_unit_variance(build):
    latents = np.load(build.latents.folder / "latents.npy").astype(np.float32)
    assert 0.3 < latents.std() < 3


def test_processes_that_render_do_not_import_torch(tmp_path):
    code = (
        f"import sys; sys.path[:0] = [{str(STARTER)!r}, {str(STARTER.parents[1])!r}]\n"
        "import runpy; runpy.run_path('build.py', run_name='__mp_main__')\n"
        "import recipe.render; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=STARTER, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]
