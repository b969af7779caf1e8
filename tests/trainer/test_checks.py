"""Settings that make no sense together are reported before the start, the same everywhere."""

import json
import re

import pytest

from app.cli import main
from tests.trainer.conftest import write_images
from trainer.config import (
    CHECKED_SETTINGS,
    ConfigError,
    RunConfig,
    check_settings,
    layer_config,
    list_presets,
)
from trainer.config.uses import _USES

ZERO = tuple(f"optimizer.{part}_learning_rate=0.0" for part in ("unet", "conv", "text"))
ONE = tuple(f"optimizer.{part}_learning_rate=1.0" for part in ("unet", "conv", "text"))


def check(*assignments, sizes=(), resolution=0):
    """Returns the messages about some settings, by the setting they are about."""
    config = layer_config(assignments=assignments)
    return {each.path: each.message for each in check_settings(config, sizes, resolution)}


def refuse(*assignments):
    """Returns why nothing would be learned, by setting."""
    with pytest.raises(ConfigError) as caught:
        check(*assignments)
    return {each.path: each.message for each in caught.value.problems}


def test_defaults_and_presets_are_free_of_warnings():
    assert check_settings(RunConfig()) == []
    assert {name: check_settings(layer_config(name)) for name in list_presets()} == {
        name: [] for name in list_presets()
    }


@pytest.mark.parametrize(
    "assignments",
    [
        ZERO,
        (*ZERO, "optimizer.kind=prodigy"),
        (*ZERO, "adapter.start_from=a.safetensors"),
        (*ZERO[:2], "adapter.text_rank=0"),
        (ZERO[0], "adapter.conv_rank=0", "adapter.text_rank=0"),
        (ZERO[0], ZERO[2], "adapter.layers=attention"),
        (ZERO[0], "adapter.layers=style"),
        (*ZERO, "adapter.word_vectors=1", "dataset.trigger=zorp",
         "optimizer.word_learning_rate=0.0"),
    ],
)  # fmt: skip
def test_rates_of_zero_for_all_that_is_trained_are_refused(assignments):
    problems = refuse(*assignments)
    message = problems["optimizer.unet_learning_rate"]
    assert "nothing would be learned" in message
    usual = "1 is usual" if "optimizer.kind=prodigy" in assignments else "0.0002 is usual"
    assert message.endswith(usual)


@pytest.mark.parametrize(
    "assignments",
    [ZERO[:2], ZERO[1:], (ZERO[0], ZERO[2]),
     (*ZERO, "adapter.word_vectors=1", "dataset.trigger=zorp")],
)  # fmt: skip
def test_one_rate_above_zero_learns_something(assignments):
    check(*assignments)


@pytest.mark.parametrize("pattern", ["*", "**"])
def test_pattern_that_leaves_out_every_layer_is_refused(pattern):
    blocks = f'adapter.blocks=[{{pattern = "{pattern}", rank = 0}}]'
    assert f"{pattern!r} with rank 0" in refuse(blocks)["adapter.blocks"]
    first = f'adapter.blocks=[{{pattern = "*q", rank = 4}}, {{pattern = "{pattern}", rank = 0}}]'
    assert check(first) == {}
    assert check('adapter.blocks=[{pattern = "unet.mid_block.*", rank = 0}]') == {}


# Settings, the one that is reported, and what the message holds.
CASES = [
    (("optimizer.warmup_steps=50", "train.steps=10"), "optimizer.warmup_steps",
     "50 steps is as long as the run of 10 or longer, so that the learning rate ends at 20 %"),
    (("optimizer.warmup_steps=10", "train.steps=10"), "optimizer.warmup_steps", "ends at 91 %"),
    (("optimizer.schedule=cosine_restarts", "optimizer.restarts=20", "train.steps=10"),
     "optimizer.restarts", "20 restarts in the 10 steps"),
    (("optimizer.schedule=cosine_restarts", "optimizer.warmup_steps=95", "train.steps=100"),
     "optimizer.restarts", "3 restarts in the 5 steps"),
    (("adapter.text_rank=0", "optimizer.text_learning_rate=1e-4"), "optimizer.text_learning_rate",
     "no effect, because adapter.text_rank is 0"),
    (("adapter.conv_rank=0", "optimizer.conv_learning_rate=1e-4"), "optimizer.conv_learning_rate",
     "no effect, because adapter.conv_rank is 0"),
    (("adapter.layers=style", "optimizer.text_learning_rate=1e-4"), "optimizer.text_learning_rate",
     "because adapter.layers is style and the text encoder is not trained"),
    (("optimizer.word_learning_rate=1e-3",), "optimizer.word_learning_rate",
     "because adapter.word_vectors is 0"),
    ((ZERO[2],), "optimizer.text_learning_rate", "is 0, so the text encoder's adapter"),
    ((ZERO[1],), "optimizer.conv_learning_rate", "set adapter.conv_rank to 0"),
    (ONE, "optimizer.unet_learning_rate", "a rate of 1 makes adamw diverge"),
    (("optimizer.unet_learning_rate=1e-2", "optimizer.lora_plus_ratio=16.0"),
     "optimizer.unet_learning_rate", "a rate of 0.16"),
    (("dataset.caption_dropout=1.0",), "dataset.caption_dropout", "no caption is ever shown"),
    (("dataset.shuffle_tags=true", "dataset.keep_tags=0", "dataset.trigger=zorp"),
     "dataset.keep_tags", "moves the trigger away"),
    (("dataset.masks=alpha", "objective.unmasked_weight=1.0"), "objective.unmasked_weight",
     "changes nothing"),
    (("objective.min_timestep=500", "objective.max_timestep=500"), "objective.min_timestep",
     "only the time step 500"),
    (("samples.weight=0.0",), "samples.weight", "without the adapter"),
    (("optimizer.restarts=5",), "optimizer.restarts",
     "no effect while optimizer.schedule is cosine"),
    (("optimizer.decay_share=0.5",), "optimizer.decay_share",
     "set optimizer.schedule to stable_decay"),
    (("objective.min_snr_gamma=3.0", "objective.weighting=none"), "objective.min_snr_gamma",
     "set objective.weighting to min_snr or soft_min_snr"),
    (("objective.huber_c=0.3",), "objective.huber_c", "while objective.loss is mse"),
    (("objective.huber_schedule=snr",), "objective.huber_schedule", "while objective.loss is mse"),
    (("objective.unmasked_weight=0.5",), "objective.unmasked_weight", "dataset.masks is off"),
    (("objective.prior_weight=0.5",), "objective.prior_weight", "objective.prior is none"),
    (("dataset.prior_path=a",), "dataset.prior_path", "set objective.prior to images"),
    (("adapter.dora_axis=output",), "adapter.dora_axis", "adapter.kind is lora"),
    (("adapter.lokr_factor=4",), "adapter.lokr_factor", "adapter.kind is lora"),
]  # fmt: skip


@pytest.mark.parametrize(("assignments", "path", "part"), CASES)
def test_waste_is_reported_with_what_to_do(assignments, path, part):
    found = check(*assignments)
    assert list(found) == [path]
    assert part in found[path]
    assert any(word in found[path] for word in (": set ", ": lower it", "Set it to"))
    # A form that knows only the settings that are looked at comes to the same.
    known = [each for each in assignments if each.partition("=")[0] in CHECKED_SETTINGS]
    assert len(known) + assignments.count("dataset.trigger=zorp") == len(assignments)


def test_every_setting_with_one_use_has_a_case():
    assert {use.path for use in _USES} <= {path for _, path, _ in CASES}


@pytest.mark.parametrize(
    "assignments",
    [
        (*ONE, "optimizer.kind=prodigy"),
        (*ONE, "optimizer.kind=prodigy", "adapter.text_rank=0"),
        (ZERO[2], "adapter.text_rank=0"),
        ("adapter.text_rank=0", "optimizer.text_learning_rate=1e-4",
         'adapter.blocks=[{pattern = "text_encoder.*", rank = 4}]'),
        ("adapter.text_rank=0", "adapter.start_from=a", "optimizer.text_learning_rate=1e-4"),
        ("optimizer.schedule=cosine_restarts", "optimizer.restarts=5", "train.steps=10"),
        ("optimizer.warmup_steps=9", "train.steps=10"),
        ("dataset.shuffle_tags=true", "dataset.keep_tags=0"),
        ("samples.weight=0.0", "samples.every_steps=0"),
    ],
)  # fmt: skip
def test_what_makes_sense_is_not_reported(assignments):
    assert check(*assignments) == {}


def test_resolution_above_every_image_is_reported():
    small = [(400, 500), (512, 300)]
    found = check("dataset.resolution=1024", sizes=small)["dataset.resolution"]
    assert "1024 is above every image" in found
    assert "400 × 500" in found
    assert "Set it to 384" in found
    own = check(sizes=small, resolution=1024)["dataset.resolution"]
    assert own.startswith("1024, the base model's own size, is above every image")
    assert check("dataset.resolution=1024", sizes=[*small, (2000, 3000)]) == {}
    assert check("dataset.resolution=1024", sizes=[(1024, 1024)]) == {}
    assert check("dataset.resolution=1024") == {}
    # As many pixels as the square has, in another shape.
    assert check("dataset.resolution=512", sizes=[(1024, 256)]) == {}


def test_run_that_ends_before_every_image_was_seen_is_reported():
    sizes = [(512, 512)] * 50
    found = check("train.steps=10", "train.batch_size=2", sizes=sizes)
    assert "shows 20 images and the dataset has 50" in found["train.steps"]
    assert "raise it to 25 at least" in found["train.steps"]
    assert check("train.steps=25", "train.batch_size=2", sizes=sizes) == {}


# --- the same in every command ------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", [(32, 32)] * 3)


def call(command, tmp_path, pico, images, *more):
    settings = (
        "dataset.resolution=64",
        "dataset.bucket_step=4",
        "train.steps=2",
        "train.device=cpu",
    )
    return main([
        command, f"--workspace={tmp_path}", f"--dataset={images}", f"--base-model={pico}",
        *(f"--set={each}" for each in (*settings, "samples.every_steps=0", "train.batch_size=1")),
        *more,
    ])  # fmt: skip


WASTE = (
    "Warning: dataset.resolution: 64 is above every image",
    "Warning: optimizer.warmup_steps: the warm-up of 9 steps",
)


def test_warnings_are_the_same_in_every_command(tmp_path, pico, images, capsys):
    warm = "--set=optimizer.warmup_steps=9"
    assert call("train", tmp_path, pico, images, warm, "--create-only") == 0
    created = [line for line in capsys.readouterr().out.splitlines() if "Warning" in line]
    assert len(created) == 3  # the third: two steps show two of three images
    assert all(any(line.startswith(begin) for line in created) for begin in WASTE)
    call("estimate", tmp_path, pico, images, warm)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "Warning" in line] == created
    call("estimate", tmp_path, pico, images, warm, "--json")
    assert json.loads(capsys.readouterr().out)["warnings"] == created
    assert call("train", tmp_path, pico, images, warm) == 0
    run = max((tmp_path / "runs").iterdir())
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    warnings = [event["message"] for event in events if event["event"] == "warning"]
    assert warnings[: len(created)] == created


def test_what_does_not_suit_the_base_model_is_reported_by_each_command(
    tmp_path, pico_xl, images, capsys
):
    more = ("--set=base_model.prediction=flow", "--set=objective.noise_offset=0.1")
    more += ("--set=dataset.resolution=32", "--set=train.steps=3")
    assert call("train", tmp_path, pico_xl, images, *more, "--create-only") == 0
    created = [line for line in capsys.readouterr().out.splitlines() if "Warning" in line]
    assert "noise_offset = 0.1 is a remedy" in created[0]
    assert "objective.weighting = min_snr" in created[1]
    call("estimate", tmp_path, pico_xl, images, *more)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if "Warning" in line] == created
    assert call("train", tmp_path, pico_xl, images, *more) == 0
    run = max((tmp_path / "runs").iterdir())
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    bare = [line.removeprefix("Warning: ") for line in created]
    assert [each["message"] for each in events if each["event"] == "warning"][:2] == bare


@pytest.mark.parametrize(
    ("command", "more"), [("train", ()), ("train", ("--create-only",)), ("estimate", ())]
)
def test_run_that_would_learn_nothing_is_refused(tmp_path, pico, images, capsys, command, more):
    zero = [f"--set={each}" for each in ZERO]
    assert call(command, tmp_path, pico, images, *zero, *more) == 2
    assert "nothing would be learned" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_run_whose_config_was_edited_is_checked_when_it_starts(tmp_path, pico, images, capsys):
    assert call("train", tmp_path, pico, images, "--create-only") == 0
    (run,) = (tmp_path / "runs").iterdir()
    config = run / "config.toml"
    config.write_text(re.sub(r"(_learning_rate = ).*", r"\g<1>0.0", config.read_text()))
    assert main(["train", run.name, f"--workspace={tmp_path}"]) == 2
    assert "nothing would be learned" in capsys.readouterr().err
