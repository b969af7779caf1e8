"""What is learned where, and what is kept."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from datasets_tools.captions import replace_trigger
from datasets_tools.errors import DatasetError
from datasets_tools.examples import scan_folder
from datasets_tools.masks import read_mask
from tests.trainer.conftest import write_images
from trainer.commands import train
from trainer.config import ConfigError, DatasetConfig, ObjectiveConfig, layer_config
from trainer.data import read_training_examples
from trainer.diffusion import DiffusionNoise, make_schedule, sample_randomness, training_loss
from trainer.runs import read_events
from trainer.training.expected_header import expect_header
from trainer.training.loop import read_batches, take_step
from trainer.training.loss import compute_losses, compute_prior_losses
from trainer.training.session import open_session

CPU = torch.device("cpu")


def write_mask(images, name, array):
    folder = images / "masks"
    folder.mkdir(exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(folder / name)


def half(side=32):
    mask = np.zeros((side, side))
    mask[:, side // 2 :] = 255
    return mask


def test_masks_are_found_by_name_and_are_no_examples(images):
    write_mask(images, "00.png", half(64))
    examples, findings = scan_folder(images)
    assert len(examples) == 6
    assert not findings
    mask = np.asarray(read_mask(examples[0].path, "folder", (32, 32)))
    assert mask.shape == (32, 32)
    assert mask[:, :14].max() == 0
    assert mask[:, 18:].min() == 255
    assert read_mask(examples[1].path, "folder", (32, 32)) is None


def test_masks_that_a_run_does_not_use_are_said(images):
    Image.fromarray(half(64).astype(np.uint8)).save(images / "00-masklabel.png")
    config = DatasetConfig(path=str(images))
    examples, findings = read_training_examples(config)
    assert len(examples) == 6
    assert [(one.severity, one.code) for one in findings] == [("warning", "unused_masks")]
    assert "Not used: 1 image has a mask (00.png). Set dataset.masks" in findings[0].message
    used = config.model_copy(update={"masks": "folder"})
    assert read_training_examples(used)[1] == []
    assert np.asarray(read_mask(images / "00.png", "folder", (64, 64)))[:, 40:].min() == 255


def test_transparency_is_a_mask_where_asked_for(tmp_path):
    image = np.full((32, 32, 4), 200, dtype=np.uint8)
    image[..., 3] = half()
    Image.fromarray(image, "RGBA").save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png", "alpha", (32, 32))
    assert np.array_equal(np.asarray(mask), half())
    assert read_mask(tmp_path / "a.png", "off", (32, 32)) is None


def test_a_mask_of_another_shape_is_refused_by_name(images):
    write_mask(images, "00.png", np.zeros((32, 64)))
    with pytest.raises(DatasetError, match=r"masks/00\.png.*another shape"):
        read_mask(images / "00.png", "folder", (32, 32))


def test_the_loss_counts_what_the_mask_shows():
    schedule = make_schedule("scaled_linear", 0.00085, 0.012, 1000)
    process = DiffusionNoise(schedule, "epsilon")
    latents = torch.zeros(1, 4, 8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    objective = ObjectiveConfig(weighting="none", unmasked_weight=0.0)
    batch_noise = sample_randomness([1], (4, 8, 8), process, objective, CPU)

    def loss_of(error, settings=objective, masks=mask):
        predict = lambda _noisy, _timesteps: batch_noise.noise + error  # noqa: E731
        return training_loss(predict, latents, batch_noise, process, settings, masks).item()

    outside, inside = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    outside[..., :4], inside[..., 4:] = 1.0, 1.0
    assert loss_of(outside) == 0.0
    assert loss_of(inside) == pytest.approx(1.0)  # a mean over what counts, not over the picture
    some = ObjectiveConfig(weighting="none", unmasked_weight=0.5)
    assert loss_of(outside, some) == pytest.approx(0.5 / 1.5)
    assert loss_of(outside, objective, None) == pytest.approx(0.5)


def test_masks_follow_the_flip_and_change_the_loss_of_their_picture_only(make_run, cache, images):
    write_mask(images, "00.png", half())
    settings = ("dataset.flip=true", "train.batch_size=6")
    plain = open_session(make_run(*settings), cache)
    masked = open_session(make_run("dataset.masks=folder", *settings, folder="m"), cache)
    store = masked.source.latents
    kept = store.masks([0, 0, 1], [False, True, False])
    assert kept.shape == (3, 1, 16, 16)
    assert torch.equal(kept[0], kept[1].flip(-1))
    assert kept[0, 0, :, :7].max() == 0
    assert kept[2].min() == 1
    batch = next(plain.source.plan.read(0))
    losses = [compute_losses(each, batch).detach() for each in (plain, masked)]
    changed = ~torch.isclose(*losses)
    assert [batch.indices[i] for i in changed.nonzero().flatten()] == [0]


def test_the_trigger_gives_way_to_the_class():
    assert replace_trigger("zorp, a zorp on a hill", "zorp", "cat") == "cat, a cat on a hill"
    assert replace_trigger("zorp, on a hill", "zorp", "") == "on a hill"
    assert replace_trigger("on a hill", "", "cat") == "on a hill"


def test_the_teacher_costs_nothing_before_the_first_step_and_pulls_later(make_run, cache):
    settings = ("objective.prior=teacher", 'dataset.class_word="blob"', "train.steps=8",
                "optimizer.unet_learning_rate=5e-3", "optimizer.schedule=constant")  # fmt: skip
    session = open_session(make_run(*settings), cache)
    batches = read_batches(session)
    batch, prior = next(batches)
    assert compute_prior_losses(session, prior).abs().max().item() == 0.0
    for _ in range(4):
        take_step(session, batches)
    after = compute_prior_losses(session, batch)
    assert after.min().item() > 0
    after.mean().backward()
    gradients = [p.grad for p in session.adapters.named_parameters().values()]
    assert any(g is not None and g.abs().max() > 0 for g in gradients)
    assert all(p.grad is None for p in session.family.unet.parameters())


@pytest.mark.slow
def test_the_teacher_keeps_the_class_nearer_to_the_base_model(make_run, cache):
    distances = []
    for weight in (0.0, 10.0):
        prior = ["objective.prior=teacher", f"objective.prior_weight={weight}"] if weight else []
        run = make_run(
            *prior, 'dataset.class_word="blob"', "train.steps=30", "adapter.rank=8",
            "optimizer.unet_learning_rate=5e-3", "optimizer.conv_learning_rate=5e-3",
            "optimizer.schedule=constant", folder=f"w{weight}",
        )  # fmt: skip
        session = open_session(run, cache)
        batches = read_batches(session)
        for _ in range(30):
            take_step(session, batches)
        # Measured alike for both, whatever they were trained with.
        objective = session.config.objective.model_copy(update={"prior": "teacher"})
        session.config = session.config.model_copy(update={"objective": objective})
        with torch.no_grad():
            shown = [next(session.source.plan.read(500 + n)) for n in range(6)]
            found = [compute_prior_losses(session, batch).mean() for batch in shown]
        distances.append(torch.stack(found).mean().item())
    assert distances[1] < 0.5 * distances[0]


def test_pictures_of_the_class_are_trained_beside_the_dataset(make_run, cache, tmp_path):
    folder = write_images(tmp_path / "class", [(32, 32)] * 3, seed=9)
    run = make_run("objective.prior=images", f'dataset.prior_path="{folder}"')
    assert train(run, cache) == "finished"
    session = open_session(run, cache)
    assert [each.caption for each in session.prior.examples] == [
        f"blob {n}, bright, round" for n in range(3)
    ]
    _, batch = next(read_batches(session))
    assert compute_prior_losses(session, batch).min().item() > 0
    losses = [e["loss"] for e in read_events(run.events_path) if e["event"] == "step"]
    assert np.isfinite(losses).all()


def test_the_header_counts_the_pictures_of_the_class(make_run, cache, tmp_path):
    folder = write_images(tmp_path / "class", [(32, 32)] * 3, seed=9)
    run = make_run("objective.prior=images", f'dataset.prior_path="{folder}"', "train.steps=1")
    expected = expect_header(run.config)
    train(run, cache)
    with safe_open(run.path / "pico.safetensors", "pt") as file:
        written = file.metadata()
    for header in (expected, written):
        assert (header["ss_num_reg_images"], header["ss_num_train_images"]) == ("3", "6")


def test_a_folder_of_the_class_is_not_counted_where_it_is_not_used(make_run, tmp_path):
    folder = write_images(tmp_path / "class", [(32, 32)], seed=9)
    for prior in ("none", "teacher"):
        run = make_run(f"objective.prior={prior}", f'dataset.prior_path="{folder}"')
        assert expect_header(run.config)["ss_num_reg_images"] == "0"


def test_a_run_scans_each_folder_once(make_run, cache, images, tmp_path, monkeypatch):
    scanned = []

    def count(folder):
        scanned.append(folder)
        return scan_folder(folder)

    monkeypatch.setattr("datasets_tools.folders.scan_folder", count)
    folder = write_images(tmp_path / "class", [(32, 32)], seed=9)
    run = make_run("objective.prior=images", f'dataset.prior_path="{folder}"', "train.steps=1")
    train(run, cache)
    assert scanned == [images, folder]


def test_a_missing_folder_of_the_class_is_reported_before_the_base_model_is_loaded(
    make_run, cache, monkeypatch
):
    monkeypatch.setattr("trainer.training.session.load_family", pytest.fail)
    run = make_run("objective.prior=images", "dataset.prior_path=/nowhere/class")
    with pytest.raises(DatasetError, match="class"):
        train(run, cache)


def test_a_prior_without_its_folder_is_refused():
    with pytest.raises(ConfigError, match=r"dataset\.prior_path"):
        layer_config(assignments=["objective.prior=images"])
