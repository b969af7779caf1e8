"""Samples of a run: prompts with settings of their own, new situations, what somebody asks for."""

from types import SimpleNamespace

import pytest

from tests.trainer.conftest import asking
from trainer.commands import train
from trainer.config import (
    ConfigError,
    SamplePrompt,
    change_settings,
    layer_config,
    list_new_prompts,
    parse_sample_prompt,
)
from trainer.runs import read_events, read_request_lines, request, save_config
from trainer.training.sample_requests import find_largest, list_sample_requests


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("a cat", SamplePrompt("a cat")),
        ("  a -- cat--like thing ", SamplePrompt("a -- cat--like thing")),
        (
            "a cat --w 512 --h 768 --d 42 --s 30 --l 6.5 --n blurry, low res",
            SamplePrompt("a cat", 512, 768, 42, 30, 6.5, "blurry, low res"),
        ),
        ("a cat --n a dog --w 64", SamplePrompt("a cat", 64, negative_prompt="a dog")),
        ("a cat --d 0 --n", SamplePrompt("a cat", seed=0, negative_prompt="")),
    ],
)
def test_a_line_is_a_prompt_with_settings_of_its_own(line, prompt):
    assert parse_sample_prompt(line) == prompt


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--w 512", "no prompt"),
        ("   ", "no prompt"),
        ("a cat --w 500", "--w must be a multiple of 64, and is 500"),
        ("a cat --h 4096", "--h must be a whole number from 64 to 2048"),
        ("a cat --d -1", "--d must be a whole number"),
        ("a cat --s 0", "--s must be a whole number from 1 to 200"),
        ("a cat --l 0.5", "--l must be a number from 1 to 30"),
        ("a cat --l high", "--l must be a number"),
        ("a cat --q 1", "--q is none of"),
    ],
)
def test_what_a_line_cannot_say_is_named(line, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_sample_prompt(line)
    with pytest.raises(ConfigError, match=complaint):
        layer_config(settings={"samples": {"prompts": ["fine", line]}})


def list_requests(captions, own=(), **samples):
    dataset = {"trigger": "zorp", "class_word": samples.pop("class_word", "cat")}
    config = layer_config(settings={"dataset": dataset, "samples": samples})
    examples = [SimpleNamespace(caption=caption) for caption in captions]
    return list_sample_requests(config, examples, 512, own)


def test_prompts_without_settings_take_those_of_the_run():
    lines = ["a cat", "a dog --w 768 --d 9 --n ugly --s 5 --l 2", "a bird"]
    first, second, third = list_requests((), prompts=lines, seed=3, negative_prompt="blurry")
    assert (first.prompt, first.width, first.height) == ("zorp, a cat", 512, 512)
    assert (first.seed, third.seed, first.negative_prompt) == (3, 5, "blurry")
    assert (second.prompt, second.width, second.height) == ("zorp, a dog", 768, 512)
    assert (second.seed, second.negative_prompt) == (9, "ugly")
    assert (second.inference_steps, second.guidance) == (5, 2.0)
    assert find_largest([first, second, third]) is second


def test_a_run_without_prompts_shows_its_class_in_new_situations_and_one_caption():
    prompts = [each.prompt for each in list_requests(["", "zorp sleeps", "cat on a beach"])]
    assert prompts == ["zorp, cat in the snow", "zorp, cat in a forest",
                       "zorp, cat sitting on a chair", "zorp sleeps"]  # fmt: skip


@pytest.mark.parametrize("captions", [[], [""], ["", "  "]])
@pytest.mark.parametrize("class_word", ["", "cat"])
def test_no_sample_is_of_an_empty_prompt(captions, class_word):
    prompts = [each.prompt for each in list_requests(captions, class_word=class_word)]
    assert len(prompts) == 3
    assert all(len(prompt) > len("zorp, ") for prompt in prompts)


def test_a_style_is_shown_on_subjects_that_no_caption_describes():
    assert list_new_prompts("", ["A House "])[:2] == ["a cat face", "a tree"]


def samples_of(run):
    return [each for each in read_events(run.events_path) if each["event"] == "sample"]


def test_a_sample_of_somebodys_own_prompt_is_made_at_once_beside_those_of_the_run(make_run, cache):
    run = make_run("samples.every_steps=0", "samples.inference_steps=1", "train.steps=4")

    def ask(text):
        return lambda: request(run.path, "sample", text)

    own = "a red blob --w 64 --d 7"
    with asking(run, {1: [ask(own)], 2: [ask(f"two blobs\n{own}")], 3: [ask("blob --q 1")]}):
        assert train(run, cache) == "finished"
    samples = samples_of(run)
    shown = [(each["step"], each["index"], each["prompt"]) for each in samples[:3]]
    assert shown == [
        (1, 64, "zorp, a red blob"), (2, 65, "zorp, two blobs"), (2, 64, "zorp, a red blob"),
    ]  # fmt: skip
    assert samples[0]["seed"] == 7
    warnings = [each["message"] for each in read_events(run.events_path) if "--q" in str(each)]
    assert warnings == [
        "The sample was not generated: --q is none of --w, --h, --d, --s, --l and --n."
    ]
    assert read_request_lines(run.path, "sample") == []


def test_prompts_that_are_changed_while_a_run_learns_are_those_of_its_next_samples(make_run, cache):
    run = make_run("samples.every_steps=2", 'samples.prompts=["a blob"]', "train.steps=4",
                   "samples.inference_steps=1")  # fmt: skip

    def change(**samples):
        settings = {f"samples.{name}": value for name, value in samples.items()}
        return lambda: save_config(run, change_settings(run.config, settings))

    def damage():
        run.config_path.write_text(run.config_path.read_text() + "\n[[")

    wishes = {1: [change(prompts=["a ring", "a star"])], 3: [change(prompts=["a dot"]), damage]}
    with asking(run, wishes):
        train(run, cache)
    shown = [(each["step"], each["prompt"]) for each in samples_of(run)]
    assert shown == [(0, "zorp, a blob"), (2, "zorp, a ring"), (2, "zorp, a star"),
                     (4, "zorp, a ring"), (4, "zorp, a star")]  # fmt: skip
