"""What the trainings see in a step, and that it teaches them something."""

import dataclasses

import numpy as np
import pytest
import torch
from recipe.errors import RecipeError
from recipe.settings import SMOKE, assign
from recipe.tokenizer import POSITIONS
from recipe.train_unet import TrainingSet, make_unet_loss, sample_batch, split_batch
from recipe.train_vae import make_vae_loss
from recipe.train_vae import sample_batch as sample_vae_batch
from recipe.training import Pace, TrainingState, make_device_context

MACHINE = make_device_context("cpu", compiled=False)


def make_lessons(counts, captions=3):
    """Latents that hold their own row number, and tokens that hold their caption's number."""
    total = sum(counts)
    latents = torch.arange(total).float()[:, None, None, None].expand(total, 4, 16, 16).half()
    wordings = torch.arange(total * captions, dtype=torch.int32).view(total, captions)
    tokens = torch.arange(total * captions + 1, dtype=torch.int16)[:, None].expand(-1, POSITIONS)
    return TrainingSet(latents, counts, wordings, tokens)


def test_batch_pairs_pictures_with_their_own_captions_in_the_wanted_shares():
    counts, shares = (40, 60, 50, 30), (0.4, 0.3, 0.2, 0.1)
    settings = assign(SMOKE, ["unet.batch_size=2000"]).unet
    training_set = make_lessons(counts)
    batch = sample_batch(training_set, assign_shares(settings, shares), seed=5)
    rows, captions = batch.latents[:, 0, 0, 0].long(), batch.tokens[:, 0]
    silent = captions == len(training_set.tokens) - 1
    assert (captions[~silent] // 3 == rows[~silent]).all()
    assert silent.float().mean().item() == pytest.approx(0.1, abs=0.03)
    bounds = [0, *np.cumsum(counts).tolist()]
    for kind, share in enumerate(shares):
        inside = (rows >= bounds[kind]) & (rows < bounds[kind + 1])
        assert inside.float().mean().item() == pytest.approx(share, abs=0.001)
    assert len(set(rows.tolist())) == sum(counts)


def assign_shares(settings, shares):
    return dataclasses.replace(settings, shares=shares)


def test_batch_is_the_same_for_the_same_seed_only():
    training_set = make_lessons((40, 60, 50, 30))
    one, same, other = (sample_batch(training_set, SMOKE.unet, seed) for seed in (1, 1, 2))
    assert torch.equal(one.batch_noise.noise, same.batch_noise.noise)
    assert torch.equal(one.tokens, same.tokens)
    assert not torch.equal(one.batch_noise.timesteps, other.batch_noise.timesteps)


def test_batch_has_a_time_step_of_every_stretch_in_no_order():
    settings = assign(SMOKE, ["unet.batch_size=100"]).unet
    timesteps = sample_batch(make_lessons((40, 60, 50, 30)), settings, seed=4).batch_noise.timesteps
    assert torch.equal(timesteps.sort().values // 10, torch.arange(100))
    assert not torch.equal(timesteps, timesteps.sort().values)


def test_share_of_a_missing_kind_goes_to_the_first():
    assert split_batch(100, (0.4, 0.3, 0.2, 0.1), (5, 7, 0, 9)) == [
        (60, 0, 5),
        (30, 5, 7),
        (10, 12, 9),
    ]


@pytest.mark.slow
def test_vae_learns(build):
    known = torch.tensor(build.usable)
    settings = assign(SMOKE, ["vae.steps=25", "vae.learning_rate=0.01", "vae.crop=0"]).vae
    state, loss_at = make_vae_loss(build.sprites, known, settings, 0, MACHINE)
    losses = []
    for step in range(25):
        loss = loss_at(step)
        state.update(loss)
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_a_step_changes_every_weight_of_unet_and_text_encoder():
    latents = torch.randn(40, 4, 16, 16, generator=torch.Generator().manual_seed(0)).half()
    training_set = dataclasses.replace(make_lessons((10, 10, 10, 10)), latents=latents)
    settings = assign(SMOKE, ["unet.warmup_steps=0"]).unet
    training, loss_at = make_unet_loss(training_set, 1000, settings, 0, MACHINE)
    before = {name: p.detach().clone() for name, p in training.state.parameters.items()}
    training.state.update(loss_at(0))
    after = training.state.parameters
    assert [name for name, was in before.items() if torch.equal(was, after[name])] == []


def test_a_loss_that_leaves_matrices_out_is_refused():
    networks = {
        "seen": torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)),
        "unseen": torch.nn.Sequential(torch.nn.Linear(3, 3)),
    }
    state = TrainingState(networks, Pace(10, 1e-3, 1e-2, 0, 0.9, 1, 1))
    loss = (
        networks["seen"](torch.ones(2, 3)).mean() + 0 * networks["unseen"](torch.ones(2, 3)).sum()
    )
    before = networks["seen"][0].weight.detach().clone()
    with pytest.raises(RecipeError, match=r"no gradient at 1 of 3 matrices, first at unseen\.0\."):
        state.update(loss)
    assert torch.equal(networks["seen"][0].weight, before)


def test_compiling_is_refused_on_a_processor():
    with pytest.raises(RecipeError, match="Leave --compile out"):
        make_device_context("cpu", compiled=True)


@pytest.mark.slow
def test_vae_batches_show_usable_drawings_only(build):
    settings = assign(SMOKE, ["vae.batch_size=64"]).vae
    known = torch.tensor(build.usable)
    forbidden = sorted(set(range(len(build.icons))) - set(build.usable))
    assert forbidden

    def draw_poisoned(indices):
        """A batch from drawings of which some are nothing but white squares."""
        layouts = {layout: sprite.clone() for layout, sprite in build.sprites.by_layout.items()}
        for sprite in layouts.values():
            sprite[indices] = 255
        return sample_vae_batch(type(build.sprites)(layouts), known, settings, seed=3)

    batch = draw_poisoned([])
    assert torch.equal(draw_poisoned(forbidden), batch)
    assert not torch.equal(draw_poisoned(build.usable), batch)
