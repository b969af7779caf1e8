"""What is asked about the settings of the Train tab, and what fills them."""

import html
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from app.core.base_models import read_answers, save_answer
from app.core.jobs import Job, read_job
from app.core.run_contents import OPENED
from app.core.text import show_bytes
from app.core.workspace import WorkspaceError
from app.train.checks import CHECKED
from app.train.events import TrainEvents
from app.train.html import VIEWS
from app.train.memory import make_memory, view_memory
from app.train.settings import (
    FORM,
    NAME,
    NOT_BY_PRESET,
    PATHS,
    START_FROM,
    Chosen,
    ask_about_settings,
    read_config_of_form,
)
from app.ui.components import describe_header, make_future_header
from tests.app.conftest import draw_images, make_config, wait_for
from tests.app.test_base_models import look, put_model
from trainer.config import RunConfig, layer_config
from trainer.runs import create_run


@pytest.fixture
def events(workspace):
    return TrainEvents(workspace)


def values_of(**settings):
    return FORM.to_values(layer_config(settings=settings))


def ask(workspace, word, **settings):
    chosen = Chosen("", "starter-model", values_of(**settings))
    config = read_config_of_form(workspace, chosen, needs_images=False)
    job_id = ask_about_settings(workspace, word, config).id
    wait_for(lambda: read_job(workspace, job_id).state != "running")
    return read_job(workspace, job_id)


def show(workspace, view, **params):
    return VIEWS[view].render(workspace, params)


def read_data(markup, name):
    """The JSON in an attribute of each element that has it."""
    found = re.findall(rf'data-{name}="(.*?)"', markup)
    return [json.loads(html.unescape(one)) for one in found]


def test_question_about_memory_needs_no_images_yet(workspace, events):
    asked = events.ask_memory(None, "starter-model", values_of())
    assert asked["message"] == ""
    assert 'data-view="memory"' in asked["answer"]
    (values,) = read_data(asked["answer"], "values")
    wait_for(lambda: "Memory that these settings take" in show(workspace, "memory", **values))
    # After a suggestion was put into the form its message stays.
    assert set(events.ask_memory_again(None, "starter-model", values_of())) == {"answer"}


def test_question_that_is_being_worked_on_says_so():
    assert "takes some seconds" in make_memory(Job("estimate-0", "running"))
    assert "takes some seconds" in make_future_header(Job("header-0", "running"))


@pytest.mark.parametrize("job", [None, "", "x", "../x", "estimate-0123456789abcdef"])
def test_question_that_nobody_asked_shows_nothing(workspace, job):
    params = {} if job is None else {"job": job}
    assert show(workspace, "memory", **params) == ""
    assert show(workspace, "header", **params) == ""


def test_answer_to_one_question_is_not_shown_as_that_to_another(workspace):
    header, memory = ask(workspace, "header"), ask(workspace, "estimate")
    assert show(workspace, "memory", job=header.id) == ""
    assert show(workspace, "header", job=memory.id) == ""
    assert "modelspec.title" in show(workspace, "header", job=header.id)


def test_settings_that_are_wrong_are_named_instead_of_asked_about(events):
    wrong = FORM.to_values(RunConfig()) | {"train.steps": None}
    for asked in (events.ask_memory, events.ask_header):
        shown = asked(None, "starter-model", wrong)["answer"]
        assert "train.steps" in shown
        assert "data-view" not in shown
        assert "no base model" in asked(None, "nope", values_of())["answer"]


def test_table_says_what_does_not_fit_and_what_would(workspace):
    job = ask(workspace, "estimate", train={"batch_size": 4})
    memory = view_memory(job)
    assert not memory.fits
    assert [change.needed_bytes <= memory.free_bytes for change in memory.changes] == [False, True]
    shown = make_memory(job)
    assert "It does not fit" in shown
    assert "train.batch_size = 4" in shown
    assert shown.count("data-key=") == 2


def test_table_that_fits_offers_no_changes(workspace):
    shown = make_memory(ask(workspace, "estimate", train={"batch_size": 1}))
    assert "It fits" in shown
    assert "data-key=" not in shown


def test_plan_that_a_run_will_take_is_shown_with_its_reason():
    plan = {"settings": {"train.recompute": "activations"}, "costs": ["A little longer."]}
    plan |= {"needed_bytes": 6 * 10**9}
    phases = [{"name": "training step", "peak_bytes": 9 * 10**9}]
    answer = {"device": "cuda in bf16", "phases": phases, "needed_bytes": 10**10}
    answer |= {"free_bytes": 8 * 10**9, "fits": True, "suggestions": [], "plan": plan}
    shown = make_memory(Job("estimate-0", "done", answer))
    assert "train.recompute = activations" in shown
    assert f"needs {show_bytes(6 * 10**9)} instead of {show_bytes(10**10)}" in shown
    assert "A little longer." in shown
    assert 'data-state="fits"' in shown


def test_suggestion_carries_the_settings_of_those_above_it(workspace):
    shown = make_memory(ask(workspace, "estimate", train={"batch_size": 4}))
    first, second = read_data(shown, "settings")
    assert first == {"train.batch_size": 1, "train.accumulate": 8}
    assert (second["train.batch_size"], second["adapter.text_rank"]) == (1, 0)
    assert set(second) <= set(FORM.paths)
    assert "Set: train.batch_size = 1, train.accumulate = 8." in html.unescape(shown)


def test_header_is_shown_as_the_privacy_choice_would_write_it(workspace):
    full = make_future_header(ask(workspace, "header", output={"header": "full"}))
    essential = make_future_header(ask(workspace, "header", output={"header": "essential"}))
    assert "ss_steps" in full
    assert "<img src=x>" not in full
    assert "ss_steps" not in essential
    assert "modelspec.title" in essential


def test_failed_question_is_a_sentence():
    failed = Job("header-0", "failed", message="There is no dataset at x.")
    assert "There is no dataset at x." in make_future_header(failed)
    assert "There is no dataset at x." in make_memory(failed)


def test_header_table_shows_tags_and_pictures_in_short():
    told = {
        "ss_tag_frequency": '{"a": {"cat": 2, "dog": 9}, "b": {"cat": 8}}',
        "ss_dataset_dirs": '{"a": {"img_count": 3}}',
        "modelspec.thumbnail": "data:image/jpeg;base64," + "A" * 4096,
        "long": "x" * 1000,
    }
    shown = dict(describe_header(told))
    assert shown["ss_tag_frequency"] == "cat (10), dog (9)"
    assert shown["ss_dataset_dirs"] == '{"a": {"img_count": 3}}'
    assert shown["modelspec.thumbnail"] == "an image (3 KB)"
    assert shown["long"].endswith("… (1000 bytes in all)")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": {"b": "c"}}', "7", "[" * 9999])
def test_damaged_tag_table_is_shown_as_it_is(text):
    assert dict(describe_header({"ss_tag_frequency": text}))["ss_tag_frequency"][:9] == text[:9]


@pytest.fixture
def exported(workspace, dataset):
    config = make_config(workspace, dataset, steps=77)
    run = create_run(workspace.runs_path, config)
    (run.path / "tabby.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return f"{run.id}/tabby.safetensors"


def fill(workspace, kind, file):
    return json.loads(show(workspace, "opened-file", kind=kind, file=file))


def test_settings_of_a_run_are_opened_with_its_dataset_and_base_model(workspace, exported):
    filled = fill(workspace, "settings", exported)
    assert "tabby.safetensors" in filled["note"]
    assert (filled["preset"], filled["dataset"]) == (OPENED, "cats")
    assert filled["base_model"] == "starter-model"
    assert filled["values"]["train.steps"] == 77
    assert filled["values"][START_FROM] == ""
    assert NAME not in filled["values"]


def test_training_goes_on_from_a_file_with_its_settings(exported, workspace):
    values = fill(workspace, "continue", exported)["values"]
    path = workspace.runs_path / exported
    assert values[START_FROM] == str(path.resolve())
    assert values["train.steps"] == 77
    shown = show(workspace, "start-from", start_from=values[START_FROM])
    assert "Goes on from tabby.safetensors" in shown
    assert 'data-key="anew"' in shown
    assert show(workspace, "start-from", start_from=" ") == ""


def test_file_without_settings_can_be_continued_but_not_opened(workspace):
    (workspace.loras_path / "mine.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    refused = fill(workspace, "settings", "file:mine.safetensors")
    assert "holds no settings" in refused.pop("note")
    assert refused == {}
    filled = fill(workspace, "continue", "file:mine.safetensors")
    assert filled["values"][START_FROM].endswith("mine.safetensors")
    assert set(filled["values"]) == {START_FROM}
    assert filled["preset"] == ""


@pytest.mark.parametrize(
    ("kind", "file"), [("", ""), ("continue", ""), ("settings", "../x"), ("x", "x")]
)
def test_wish_for_a_file_that_is_not_there_is_a_sentence(workspace, events, kind, file):
    filled = fill(workspace, kind, file)
    assert "note-error" in filled.pop("note")
    assert filled == {}
    assert events.save_prediction(SimpleNamespace(kind=kind, file=file)) == {}


def test_prediction_of_opened_settings_is_the_answer_for_their_base_model(workspace, events):
    folder = workspace.datasets_path / workspace.create_dataset("dogs")
    draw_images(folder, 1)
    config = make_config(workspace, folder)
    opened = config.model_copy(
        update={"base_model": config.base_model.model_copy(update={"prediction": "v_prediction"})}
    )
    run = create_run(workspace.runs_path, opened)
    (run.path / "tabby.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    file = f"{run.id}/tabby.safetensors"
    for event in (SimpleNamespace(), SimpleNamespace(key="anew"), SimpleNamespace(kind="x")):
        events.save_prediction(event)
    assert read_answers(workspace, "starter-model") == {}
    assert events.save_prediction(SimpleNamespace(kind="settings", file=file)) == {}
    assert read_answers(workspace, "starter-model") == {"prediction": "v_prediction"}


def test_preset_leaves_alone_what_it_cannot_know(workspace):
    filled = json.loads(show(workspace, "preset", preset="starter-style"))
    assert set(FORM.paths) - set(filled["values"]) == NOT_BY_PRESET
    assert "starter-style: " in filled["note"]
    assert "Defaults" in json.loads(show(workspace, "preset", preset=""))["note"]
    gone = json.loads(show(workspace, "preset", preset="../x"))
    assert "note-error" in gone.pop("note")
    assert gone == {}


def test_exposure_follows_the_form_and_the_dataset(workspace, dataset):
    shared = {"train.steps": 30, "train.batch_size": 2, "adapter.rank": 8, "adapter.alpha": 4}
    params = {"dataset": "cats", "exposure": json.dumps(shared)}
    assert "seen about 20 times" in show(workspace, "exposure", **params)
    version = VIEWS["exposure"].read_version(workspace, params)
    draw_images(dataset, 6)
    assert VIEWS["exposure"].read_version(workspace, params) != version
    assert "seen about 10 times" in show(workspace, "exposure", **params)
    half = json.dumps(shared | {"train.steps": None})
    assert show(workspace, "exposure", dataset="cats", exposure=half) == ""
    assert show(workspace, "exposure", dataset="cats", exposure="[7") == ""
    assert "the dataset has none yet" in show(workspace, "exposure", exposure=params["exposure"])


def test_settings_that_make_no_sense_together_are_told_before_the_start(workspace, dataset):
    def check(base_model="starter-model", **changes):
        values = FORM.to_values(RunConfig())
        shared = {path: values[path] for path in CHECKED} | changes
        return show(
            workspace, "checks", checks=json.dumps(shared), dataset="cats", base_model=base_model
        )

    assert check() == ""
    warm = check(**{"optimizer.warmup_steps": 5000})
    assert "note-warning" in warm
    assert "optimizer.warmup_steps: the warm-up of 5000 steps is as long as the run" in warm
    assert "256 is above every image" in check(**{"dataset.resolution": 256})
    zero = {f"optimizer.{part}_learning_rate": 0 for part in ("unet", "conv", "text")}
    refused = check(**zero)
    assert "note-error" in refused
    assert "nothing would be learned" in refused
    assert check(**zero, **{"train.steps": None}) == ""  # half a number
    assert check(**{"adapter.word_vectors": 2}) == ""  # the trigger is the dataset's
    assert show(workspace, "checks") == ""
    # The size of the base model counts where the settings have none, once it is known.
    look(workspace, "starter-model")
    assert "the base model&#x27;s own size" in check()


def test_settings_that_do_not_suit_the_base_model_are_told_before_the_start(workspace, dataset):
    def check(base_model, **changes):
        values = FORM.to_values(RunConfig()) | {"dataset.resolution": 64}
        shared = {path: values[path] for path in CHECKED} | changes
        return show(
            workspace, "checks", checks=json.dumps(shared), dataset="cats", base_model=base_model
        )

    for name in ("plain.safetensors", "v-pred.safetensors"):
        put_model(workspace.models_path, name)
    offset = {"objective.noise_offset": 0.05}
    assert check("plain.safetensors", **offset) == ""  # nobody looked at it yet
    look(workspace, "plain.safetensors")
    look(workspace, "v-pred.safetensors")
    assert check("plain.safetensors", **offset) == ""
    flow = check("plain.safetensors", **offset, **{"base_model.prediction": "flow"})
    assert "The base model is trained with rectified flow" in flow
    assert "objective.weighting = min_snr weighs by the signal-to-noise ratio" in flow
    # A person's answer brings zero terminal SNR along, unless it is switched off.
    save_answer(workspace, "v-pred.safetensors", "v_prediction")
    assert "zero terminal SNR" in check("v-pred.safetensors", **offset)
    assert check("v-pred.safetensors", **offset, **{"base_model.zero_snr": "off"}) == ""
    # And what InvokeAI would take the file for is told of a model of public size.
    rows = '[{pattern = "unet.down*", rank = 0}, {pattern = "unet.mid*", rank = 0}]'
    blocks = FORM.to_values(layer_config(assignments=[f"adapter.blocks={rows}"]))["adapter.blocks"]
    only_up = {"adapter.blocks": blocks, "adapter.text_rank": 0}
    assert "InvokeAI (taken for SDXL)" in check("plain.safetensors", **only_up)
    look(workspace, "starter-model")
    assert "InvokeAI" not in check("starter-model", **only_up)


def test_run_that_would_learn_nothing_is_not_started(workspace, dataset, events):
    zero = {f"{part}_learning_rate": 0.0 for part in ("unet", "conv", "text")}
    refused = events.start("cats", "starter-model", values_of(optimizer=zero))
    assert "nothing would be learned" in refused["problems"]
    shown = refused["values"]["optimizer.unet_learning_rate"]["info"]
    assert shown.startswith("✕ the learning rate of everything that is trained is 0")
    assert not any(workspace.runs_path.glob("*/config.toml"))


def test_note_says_which_dataset_a_run_will_use(workspace, dataset):
    assert "Dataset: cats, 3 images" in show(workspace, "train-dataset", dataset="cats")
    assert "no dataset yet" in show(workspace, "train-dataset")
    assert "note-warning" in show(workspace, "train-dataset", dataset="../x")


def test_config_needs_a_dataset_where_images_are_needed(workspace):
    with pytest.raises(WorkspaceError):
        read_config_of_form(workspace, Chosen(None, "starter-model", values_of()))


def test_browser_on_another_computer_has_nothing_sent(workspace):
    chosen = Chosen("", "starter-model", values_of(output={"webhook": "http://10.0.0.1/x"}))
    assert read_config_of_form(workspace, chosen, needs_images=False)
    with pytest.raises(WorkspaceError, match=r"output\.webhook"):
        read_config_of_form(replace(workspace, takes_paths=False), chosen, needs_images=False)


def test_browser_on_another_computer_names_only_what_lies_in_the_workspace(workspace, tmp_path):
    far = replace(workspace, takes_paths=False)
    inside, outside = str(workspace.loras_path / "a.safetensors"), str(tmp_path / "x.safetensors")
    for path in PATHS:
        assert path in FORM.paths
        section, _, name = path.partition(".")
        for value, allowed in ((inside, True), ("", True), (outside, False), ("../x", False)):
            lines = [f"2 x {value}"] if value else []
            setting = lines if name == "folders" else value
            chosen = Chosen("", "starter-model", values_of(**{section: {name: setting}}))
            assert read_config_of_form(workspace, chosen, needs_images=False)
            if allowed:
                assert read_config_of_form(far, chosen, needs_images=False)
            else:
                with pytest.raises(WorkspaceError, match=f"{path} names a place outside"):
                    read_config_of_form(far, chosen, needs_images=False)
