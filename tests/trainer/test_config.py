"""Configs: layered, strict, and wrong ones explained all at once."""

import tomllib

import pytest

from trainer.config import (
    ConfigError,
    RunConfig,
    config_to_toml,
    derive_name,
    layer_config,
    list_presets,
    parse_assignment,
    read_config,
)


def problems(**settings):
    with pytest.raises(ConfigError) as caught:
        layer_config(settings=settings)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_all_problems_of_a_config_are_told_at_once():
    found = problems(
        name="a/b",
        steps=4,
        train={"stepz": 3, "batch_size": "8", "seed": -1},
        optimizer={"schedule": "cos"},
    )
    assert found["train.stepz"].endswith("did you mean train.steps?")
    assert found["steps"].endswith("did you mean train.steps?")
    assert found["train.batch_size"] == "must be a valid integer, but is '8'"
    assert found["train.seed"] == "must be greater than or equal to 0, but is -1"
    assert "'constant', 'linear', 'cosine'" in found["optimizer.schedule"]
    assert "letters, digits" in found["name"]
    assert len(found) == 6


@pytest.mark.parametrize("name", ["a/b", "..", "../x", "", "a\\b", "x" * 65, "a..b", "nul\0"])
def test_a_name_that_could_be_a_path_is_refused(name):
    assert problems(name=name)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused(value):
    assert "optimizer.unet_learning_rate" in problems(optimizer={"unet_learning_rate": value})


def test_later_layers_win(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nsteps = 7\nbatch_size = 3\n")
    config = layer_config("starter-style", file, {"train": {"batch_size": 5}}, ["train.seed=9"])
    assert (config.train.steps, config.train.batch_size, config.train.seed) == (7, 5, 9)
    assert config.optimizer.unet_learning_rate != RunConfig().optimizer.unet_learning_rate


def test_saved_config_reads_back_equal_and_explains_every_field(tmp_path):
    config = layer_config("starter-style", settings={"samples": {"prompts": ['a "cat"', "ü"]}})
    text = config_to_toml(config)
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    assert read_config(tmp_path / "config.toml") == config
    fields = sum(1 for line in text.splitlines() if "=" in line and not line.startswith("#"))
    comments = sum(1 for line in text.splitlines() if line.startswith("#"))
    assert comments == fields > 40


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_a_valid_partial_config(name):
    assert layer_config(name).train.steps > 0


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("train.steps=5", {"train": {"steps": 5}}),
        ("dataset.flip=true", {"dataset": {"flip": True}}),
        ("dataset.path=/a b/c=d", {"dataset": {"path": "/a b/c=d"}}),
        ('samples.prompts=["a", "b"]', {"samples": {"prompts": ["a", "b"]}}),
    ],
)
def test_assignments_are_toml_or_text(text, tree):
    assert parse_assignment(text) == tree


@pytest.mark.parametrize("text", ["train.steps", "=3", "a..b=1"])
def test_a_malformed_assignment_is_refused(text):
    with pytest.raises(ConfigError, match=r"section\.name=value"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"steps = ", "not valid TOML"),
        (b"\xff\xfa", "not UTF-8"),
        (b'dataset.path = "C:\\cats"', r"not valid TOML.*single quotes, 'C:\\cats'"),
        (b'dataset.path = "C:\\Users\\me"', r"not valid TOML.*single quotes"),
        (b'dataset.path = "C:\\new\\table"', r"dataset\.path: holds a control character.*single"),
        (b'dataset.folders = ["2 x D:\\toys"]', r"dataset\.folders: holds a control character"),
        (b"version = 2", "newer Lorasmith"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, says):
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        read_config(file)
    assert "broken.toml" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_files_of_windows_editors_are_read(tmp_path, encoding):
    text = "[dataset]\r\npath = 'C:\\new\\bilder'\r\ntrigger = \"süß\"\r\n"
    (tmp_path / "config.toml").write_bytes(text.encode(encoding))
    dataset = read_config(tmp_path / "config.toml").dataset
    assert (dataset.path, dataset.trigger) == ("C:\\new\\bilder", "süß")


def test_there_are_no_fields_without_a_value():
    assert tomllib.loads(config_to_toml(RunConfig())) == RunConfig().model_dump()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("tabby", "tabby"),
        ("tabby-2_v1.5", "tabby-2_v1.5"),
        ("My cat!", "My-cat"),
        ("Ärger é", "Arger-e"),
        ("a/../b", "a-.-b"),
        ("..hidden", "hidden"),
        ("process", "process-lora"),
        ("x" * 70, "x" * 64),
        ("猫", "cats"),
        ("nul", "cats"),
        ("", "cats"),
        ("  ", "cats"),
    ],
)
def test_every_text_stands_for_a_name_that_a_run_may_have(typed, name):
    assert derive_name(typed, "cats") == name
    assert RunConfig(name=name).name == name


def test_a_name_without_a_fallback_is_the_default():
    assert derive_name("猫", "犬") == RunConfig().name


@pytest.mark.parametrize("path", ["samples.prompts", "dataset.trigger", "name"])
def test_half_of_a_character_is_refused(path):
    value = ["a \ud800"] if path == "samples.prompts" else "a \ud800"
    section, _, name = path.rpartition(".")
    settings = {section: {name: value}} if section else {name: value}
    with pytest.raises(ConfigError, match=r"half of a character|unicode string"):
        layer_config(settings=settings)
