"""Presets are composed of rows, lie within what is published, fit, train, and are suggested."""

import math

import pytest

from app.cli import main
from benchmarks.memory_full_size import estimate_full_size
from tests.trainer.conftest import STARTER, build_pico_xl, write_images
from trainer.commands import train
from trainer.config import (
    AdapterConfig,
    BaseModelConfig,
    ConfigError,
    DatasetConfig,
    Guess,
    ObjectiveConfig,
    RunConfig,
    SamplesConfig,
    fits_preset,
    guess_kind,
    layer_config,
    list_care,
    list_choices,
    list_goals,
    list_kinds,
    list_memories,
    list_presets,
    schedule_factor,
    suggest_preset,
)
from trainer.config.presets import get_family, list_preset_files, read_kind
from trainer.runs import create_run, read_events

GB = 1_000_000_000
BALANCED = {name: one for name, one in list_choices().items() if one.care == "balanced"}


# --- names and rows -----------------------------------------------------------------------------


def test_every_kind_goal_memory_and_care_has_a_preset():
    assert set(list_goals()) == {"character", "style", "object"}
    assert set(list_care()) == {"quick", "balanced", "careful"}
    assert set(list_kinds()) >= {
        "sd15",
        "sd15-anime",
        "sdxl",
        "illustrious",
        "pony",
        "vpred",
        "flow",
    }
    for kind in list_kinds():
        assert list_memories(get_family(kind)) == [6, 8, 12, 24]
    assert len(list_choices()) == len(list_kinds()) * 3 * 4 * 3
    assert set(list_presets()) == {*list_choices(), *list_preset_files()}
    assert all(list_presets().values())


@pytest.mark.parametrize(
    "name", ["sd15-character-8gb", "sd15-style-8gb", "sdxl-character-8gb", "sdxl-style-12gb"]
)
def test_names_of_before_are_still_there(name):
    assert layer_config(name).train.steps > 0


def test_what_was_not_measured_is_described_as_common_practice():
    described = list_presets()
    for name in list_choices():
        assert described[name].endswith("common practice, not yet measured by us.")
    assert described["pony-style-12gb"].startswith("A style on Pony with 12 GB: ")
    careful = described["sd15-anime-object-6gb-careful"]
    assert careful.startswith("An object on SD 1.5 anime with 6 GB, half as many images again")


def test_preset_for_sd15_with_8_gb_is_the_one_of_before():
    config = layer_config("sd15-character-8gb")
    assert (config.train.steps, config.train.batch_size) == (1500, 2)
    assert (config.optimizer.warmup_steps, config.samples.every_steps) == (75, 150)
    assert (config.adapter.rank, config.adapter.alpha, config.adapter.text_rank) == (16, 8.0, 8)
    rates = (config.optimizer.unet_learning_rate, config.optimizer.text_learning_rate)
    assert rates == (2e-4, 5e-5)
    assert (config.dataset.shuffle_tags, config.dataset.resolution) == (True, 512)


def test_name_that_is_no_preset_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean .*sdxl-character-8gb.*lorasmith presets"):
        layer_config("sdxl-charakter-8gb")
    with pytest.raises(ConfigError, match="there is no preset 'x'"):
        layer_config("x")


def test_memory_changes_how_a_run_fits_and_not_what_it_learns():
    free = {"resolution", "text_rank", "text_alpha", "shuffle_tags", "text_learning_rate"}
    free |= {"every_steps", "batch_size", "accumulate", "gradient_checkpointing", "quantize"}
    for choice in BALANCED.values():
        config, other = layer_config(choice.name), layer_config(choice.name.replace(
            f"-{choice.memory}gb", "-24gb"))  # fmt: skip
        for section in ("base_model", "dataset", "adapter", "objective", "optimizer", "train"):
            ours, theirs = (getattr(each, section).model_dump() for each in (config, other))
            assert {key for key in ours if ours[key] != theirs[key]} <= free
        assert count_images(config) == count_images(other)


def count_images(config):
    return config.train.steps * config.train.batch_size * config.train.accumulate


# --- what they learn ----------------------------------------------------------------------------

# Published ranges for 10 to 20 images, from the sources that docs/presets_page.py names:
# learning rate of the UNet, of the text encoder (0 is off), images, rank.
RANGES = {
    "sd15": ((2e-4, 5e-4), (0, 1e-4), (2000, 5000), (16, 32)),
    "sd15-anime": ((2e-4, 5e-4), (0, 1e-4), (2000, 5000), (16, 32)),
    "sdxl": ((1e-4, 3e-4), (0, 1e-4), (1500, 5000), (16, 32)),
    "illustrious": ((1e-4, 5e-4), (0, 6e-5), (1000, 5000), (8, 32)),
    "pony": ((1e-4, 3e-4), (0, 1e-4), (1500, 3000), (8, 32)),
    "vpred": ((1e-4, 3e-4), (0, 6e-5), (1000, 5000), (8, 32)),
    "flow": ((1e-4, 3e-4), (0, 6e-5), (1000, 5000), (8, 32)),
}


def measure_push(config):
    """Returns rate × alpha × updates, how far an optimiser such as Adam can carry the weights."""
    steps, optimizer = config.train.steps, config.optimizer
    mean = sum(schedule_factor(optimizer, step, steps) for step in range(steps)) / steps
    return optimizer.unet_learning_rate * config.adapter.alpha * steps * mean


def test_every_kind_has_published_ranges():
    assert set(RANGES) == set(list_kinds())


@pytest.mark.parametrize("name", BALANCED)
def test_values_lie_within_what_is_published(name):
    config = layer_config(name)
    rate, text, images, rank = RANGES[BALANCED[name].kind]
    assert rate[0] <= config.optimizer.unet_learning_rate <= rate[1]
    trained = config.optimizer.text_learning_rate if config.adapter.text_rank else 0
    assert text[0] <= trained <= text[1]
    assert images[0] <= count_images(config) <= images[1]
    assert rank[0] <= config.adapter.rank <= rank[1]
    assert config.adapter.alpha in {config.adapter.rank, config.adapter.rank / 2}
    if BALANCED[name].goal == "style":
        assert config.adapter.text_rank == 0
        assert config.adapter.conv_rank > 0


def test_all_kinds_learn_about_as_much():
    pushes = {name: measure_push(layer_config(name)) for name in list_choices()}
    assert min(pushes.values()) > 0.6
    assert max(pushes.values()) < 3
    for goal in list_goals():
        same = [pushes[name] for name, one in BALANCED.items() if one.goal == goal]
        assert max(same) / min(same) < 2
    # The character on SDXL learned a sixth of the one on SD 1.5.
    assert pushes["sdxl-character-8gb"] > 0.8 * pushes["sd15-character-8gb"]


def test_care_shows_fewer_or_more_images_at_another_rate():
    for name in BALANCED:
        config, quick, careful = (
            layer_config(f"{name}{end}") for end in ("", "-quick", "-careful")
        )
        assert count_images(quick) == pytest.approx(0.5 * count_images(config), abs=40)
        assert count_images(careful) == pytest.approx(1.5 * count_images(config), abs=40)
        rate = config.optimizer.unet_learning_rate
        assert quick.optimizer.unet_learning_rate == pytest.approx(1.5 * rate, rel=0.05)
        assert careful.optimizer.unet_learning_rate == pytest.approx(0.7 * rate, rel=0.05)
        for each in (config, quick, careful):
            assert each.optimizer.warmup_steps == each.train.steps // 20
            assert each.output.checkpoint_every_steps == each.train.steps // 10
            assert each.samples.every_steps in {0, each.train.steps // 10}


def test_noise_is_not_shifted_where_the_schedule_ends_in_pure_noise():
    for name, choice in BALANCED.items():
        config = layer_config(name)
        if config.base_model.prediction == "auto":
            assert choice.kind not in {"vpred", "flow"}
            continue
        ends = {"vpred": ("v_prediction", "on"), "flow": ("flow", "auto")}[choice.kind]
        assert (config.base_model.prediction, config.base_model.zero_snr) == ends
        assert (config.objective.noise_offset, config.objective.pyramid_noise) == (0, 0)
        assert config.objective.weighting == "none"


# --- memory -------------------------------------------------------------------------------------


def reduce_config(config):
    """Returns what memory depends on, so that presets that differ in nothing else share it."""
    adapter, dataset, train = config.adapter, config.dataset, config.train
    return RunConfig(
        base_model=BaseModelConfig(quantize=config.base_model.quantize),
        dataset=DatasetConfig(resolution=dataset.resolution, shuffle_tags=dataset.shuffle_tags),
        adapter=AdapterConfig(
            kind=adapter.kind, rank=adapter.rank, conv_rank=adapter.conv_rank,
            text_rank=adapter.text_rank,
        ),
        samples=SamplesConfig(every_steps=min(config.samples.every_steps, 1)),
        objective=ObjectiveConfig(pyramid_noise=config.objective.pyramid_noise),
        train=train.model_copy(update={"steps": 1}),
    )  # fmt: skip


def list_largest(family, memory):
    """Returns the presets for a memory that take the most: all others have less of everything."""
    sizes = {}
    for name, choice in list_choices().items():
        if (get_family(choice.kind), choice.memory) == (family, memory):
            config = reduce_config(layer_config(name))
            adapter, rest = config.adapter, config.model_copy(update={"adapter": None})
            size = (adapter.rank, adapter.conv_rank, adapter.text_rank, config.dataset.shuffle_tags,
                    config.objective.pyramid_noise)  # fmt: skip
            alike = rest.dataset.resolution, rest.train, rest.samples, rest.base_model
            sizes.setdefault(size, (name, config, alike))
    assert len({repr(alike) for _, _, alike in sizes.values()}) == 1
    for size, (name, config, _) in sizes.items():
        others = (other for other in sizes if other != size)
        if not any(all(b >= a for a, b in zip(size, other, strict=True)) for other in others):
            yield name, config


def check_memory(family, memory):
    for name, config in list_largest(family, memory):
        if config.base_model.quantize != "none":
            pytest.importorskip("bitsandbytes", reason="4-bit weights need it")
        needed = estimate_full_size(family, config)
        assert needed.total_bytes <= memory * GB, (name, needed.phases, needed.total_bytes)
        # Not far below either: with more memory more could be done.
        if family == "sdxl":
            assert needed.total_bytes > 0.7 * memory * GB


PLACES = sorted({(get_family(one.kind), one.memory) for one in BALANCED.values()})


@pytest.mark.slow
def test_presets_for_sdxl_with_8_gb_fit():
    check_memory("sdxl", 8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("family", "memory"), [each for each in PLACES if each != ("sdxl", 8)])
def test_every_preset_fits_the_memory_in_its_name(family, memory):
    check_memory(family, memory)


# --- training -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pico_xl_v(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pico-xl-v") / "model"
    return build_pico_xl(folder, prediction="v_prediction")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*list_choices(), *list_preset_files()])
def test_every_preset_trains_ten_steps(name, request, tmp_path, images):
    choice = list_choices().get(name)
    if choice is None:
        model, images, size = STARTER, write_images(tmp_path / "own", [(64, 64)] * 6), 64
    else:
        predicts_v = read_kind(choice.kind).get("prediction") == "v_prediction"
        xl = "pico_xl_v" if predicts_v else "pico_xl"
        model = request.getfixturevalue(xl if get_family(choice.kind) == "sdxl" else "pico")
        size = 32
    config = layer_config(name)
    if config.base_model.quantize != "none":
        pytest.importorskip("bitsandbytes", reason="4-bit weights need it")
    small = {
        "base_model": {"path": str(model), "precision": "fp32"},
        "dataset": {"path": str(images), "trigger": "zorp", "resolution": size},
        "train": {"steps": 10, "device": "cpu", "log_every_steps": 1},
        "optimizer": {"warmup_steps": 1},
        "samples": {"every_steps": 0},
    }
    run = create_run(tmp_path / "runs", layer_config(name, settings=small))
    assert train(run, tmp_path / "cache") == "finished"
    events = read_events(run.events_path)
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == 10
    assert all(math.isfinite(loss) for loss in losses)
    assert [path.name for path in run.list_exports()] == ["my-lora.safetensors"]


# --- suggestions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "family", "prediction", "kind", "reason"),
    [
        ("starter-model", "", "", "starter", "the starter model"),
        ("dreamy.safetensors", "sd15", "epsilon", "sd15", "holds nothing that is known"),
        ("dreamy.safetensors", "sd2", "v_prediction", "sd15", "weights are those of SD 2.x"),
        ("MeinaMix_v11.safetensors", "sd15", "epsilon", "sd15-anime", "its name holds “meina”"),
        ("juggernautXL.safetensors", "sdxl", "epsilon", "sdxl", "weights are those of SDXL"),
        ("NoobAI-XL-v1.1.safetensors", "sdxl", "epsilon", "illustrious", "holds “noob”"),
        ("Illustrious-XL-v2.0", "sdxl", "epsilon", "illustrious", "holds “illust”"),
        ("ponyDiffusionV6XL", "sdxl", "epsilon", "pony", "holds “pony”"),
        ("animePonyMix", "sdxl", "epsilon", "pony", "holds “pony”"),
        ("NoobAI-XL-Vpred", "sdxl", "v_prediction", "vpred", "it predicts v_prediction"),
        ("bigASP-2.5", "sdxl", "flow", "flow", "it predicts flow"),
        ("anime-xl", "sd15", "epsilon", "sd15-anime", "holds “anime”"),
        ("unread", "", "", "sd15", "it was not read yet"),
    ],
)
def test_kind_is_guessed_from_weights_prediction_and_name(name, family, prediction, kind, reason):
    guess = guess_kind(name, family, prediction)
    assert guess.kind == kind
    assert reason in guess.reason


def test_suggestion_is_of_the_kind_the_goal_and_the_memory_and_has_reasons():
    pony = guess_kind("pony.safetensors", "sdxl", "epsilon")
    suggestion = suggest_preset(pony, "character", 12_900_000_000, "careful")
    assert suggestion.choice.name == "pony-character-12gb-careful"
    assert suggestion.reason == (
        "The base model counts as Pony, because its weights are those of SDXL and its name holds "
        "“pony”. The device has 12.9 GB."
    )
    usual = suggest_preset(pony)
    assert usual.choice.name == "pony-style-8gb"
    assert "No goal was given, and a style needs no trigger word." in usual.reason
    assert "The memory is not known, and 8 GB are usual." in usual.reason
    starter = suggest_preset(guess_kind("starter-model"))
    assert starter.choice.name == "starter-style"
    assert "GB" not in starter.reason
    assert suggest_preset(guess_kind("starter-model"), "object").choice.name == "starter-character"


@pytest.mark.parametrize(
    ("gigabytes", "size"),
    [(4.2, 6), (6.4, 6), (8.5, 8), (11.9, 8), (16.9, 12), (25.4, 24), (80, 24)],
)
def test_largest_memory_that_the_device_has_is_suggested(gigabytes, size):
    suggestion = suggest_preset(guess_kind("x", "sdxl"), memory_bytes=round(gigabytes * GB))
    assert suggestion.choice.memory == size
    assert ("less than any preset is made for" in suggestion.reason) == (gigabytes < 6)


def test_every_suggestion_exists_and_fits_its_kind():
    for kind in ("starter", *list_kinds()):
        for goal in list_goals():
            for care in list_care():
                name = suggest_preset(Guess(kind, ""), goal, 8 * GB, care).choice.name
                assert name in list_presets()
                assert fits_preset(name, kind)
    assert not fits_preset("sdxl-style-8gb", "pony")
    assert not fits_preset("sdxl-style-8gb", "starter")
    assert not fits_preset("sd15-anime-style-8gb", "sd15")
    assert fits_preset("starter-dora", "starter")


def test_command_suggests_a_preset_and_gives_the_reasons(capsys, pico_xl, tmp_path):
    pony = tmp_path / "pony-mix"
    pony.symlink_to(pico_xl)
    assert main(["presets", f"--base-model={pony}", "--goal=object", "--memory=24"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("pony-object-24gb: An object on Pony with 24 GB: ")
    assert "its name holds “pony”. The device has 24.0 GB." in printed
    assert main(["presets", "--kind=vpred", "--memory=8", "--care=quick"]) == 0
    assert capsys.readouterr().out.startswith("vpred-style-8gb-quick: ")
    (tmp_path / "no.safetensors").write_bytes(b"x")
    assert main(["presets", f"--base-model={tmp_path / 'no.safetensors'}"]) == 2
    assert "no.safetensors" in capsys.readouterr().err


def test_command_lists_every_name(capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line.partition(":")[0] for line in lines}
    assert names == {*BALANCED, *list_preset_files(), "…gb-quick", "…gb-careful"}
