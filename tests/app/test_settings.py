"""What is asked about the settings of the Train tab, and what other tabs put there."""

from dataclasses import replace

import gradio as gr
import pytest

from app.core.jobs import Job, read_job
from app.core.run_contents import OPENED
from app.core.workspace import WorkspaceError
from app.train.events import NOT_BY_PRESET, START_FROM, TrainEvents
from app.train.form_values import PATHS, Chosen, ask_about_settings, read_config_of_form
from app.train.memory import view_memory
from app.train.memory_html import make_memory
from app.train.page import _ELSEWHERE
from app.train.settings_events import SettingsEvents
from app.ui.form import make_form
from app.ui.headers import describe_header, make_future_header
from app.ui.markup import Markup
from tests.app.conftest import make_config, wait_for
from trainer.config import RunConfig, layer_config
from trainer.runs import create_run

FORM = make_form(without=_ELSEWHERE)


@pytest.fixture
def events(workspace):
    return SettingsEvents(workspace, FORM)


def values_of(**settings):
    return FORM.to_values(layer_config(settings=settings))


def ask(workspace, word, **settings):
    chosen = Chosen("", "starter-model", values_of(**settings))
    config = read_config_of_form(workspace, FORM, chosen, needs_images=False)
    job_id = ask_about_settings(workspace, word, config).id
    wait_for(lambda: read_job(workspace, job_id).state != "running")
    return read_job(workspace, job_id)


def find(answers, path):
    """The value that a list of widget values has for a setting."""
    return answers[len(answers) - len(FORM.paths) + FORM.paths.index(path)]


def test_question_about_memory_needs_no_images_yet(workspace, events):
    seen, job_id, trouble, note = events.ask_memory({}, None, "starter-model", *values_of())
    assert (seen, note, trouble) == ({}, "", gr.skip())
    assert job_id.startswith("estimate-")
    assert "takes some seconds" in events.show_answers(seen, job_id, "")[1]


def test_settings_that_are_wrong_are_named_instead_of_asked_about(events):
    _, job_id, shown, _ = events.ask_memory(
        {}, None, "starter-model", *FORM.to_values(RunConfig())[:-1], None
    )
    assert job_id == ""
    assert FORM.paths[-1] in shown
    assert "no base model" in events.ask_memory({}, None, "nope", *values_of())[2]


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


class Press:
    def __init__(self, key):
        self.key = key


def test_change_is_put_into_the_form_with_those_above_it(workspace, events):
    job = ask(workspace, "estimate", train={"batch_size": 4})
    first = events.apply_change(job.id, Press("0"))
    assert (find(first, "train.batch_size"), find(first, "train.accumulate")) == (1, 8)
    assert isinstance(find(first, "adapter.text_rank"), dict)  # left as it is
    second = events.apply_change(job.id, Press("1"))
    assert (find(second, "train.batch_size"), find(second, "adapter.text_rank")) == (1, 0)
    assert "train.batch_size = 1" in second[0]


@pytest.mark.parametrize("key", ["2", "-1", "x", ""])
def test_change_that_was_not_offered_changes_nothing(workspace, events, key):
    job = ask(workspace, "estimate", train={"batch_size": 4})
    answers = events.apply_change(job.id, Press(key))
    assert {str(answer) for answer in answers} == {str(answers[0])}


def test_answers_that_look_alike_are_painted_again_after_a_new_question(workspace, events):
    """A failure may be the same twice; between the two the page said that it was looking."""
    job = ask(workspace, "estimate", train={"batch_size": 4})
    seen, *_ = events.show_answers({}, job.id, "")
    assert not isinstance(events.show_answers(seen, job.id, "")[1], Markup)
    seen, *_ = events.ask_memory(seen, None, "starter-model", *values_of(train={"batch_size": 4}))
    assert isinstance(events.show_answers(seen, job.id, "")[1], Markup)


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
    assert shown["modelspec.thumbnail"] == "a picture (3 KB)"
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


def test_settings_of_a_run_are_opened_with_its_dataset_and_base_model(events, exported):
    note, preset, dataset, model, *values = events.obey(f"settings|1|{exported}")
    assert "tabby.safetensors" in note
    assert (preset, dataset, model) == (OPENED, "cats", "starter-model")
    assert find(values, "train.steps") == 77
    assert find(values, START_FROM) == ""


def test_training_goes_on_from_a_file_with_its_settings(events, exported, workspace):
    values = events.obey(f"continue|1|{exported}")
    path = workspace.runs_path / exported
    assert find(values, START_FROM) == str(path.resolve())
    assert find(values, "train.steps") == 77


def test_file_without_settings_can_be_continued_but_not_opened(events, workspace):
    (workspace.loras_path / "mine.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    note, preset, *_ = events.obey("settings|1|file:mine.safetensors")
    assert "holds no settings" in note
    assert preset != OPENED
    values = events.obey("continue|1|file:mine.safetensors")
    assert find(values, START_FROM).endswith("mine.safetensors")
    assert isinstance(find(values, "train.steps"), dict)


@pytest.mark.parametrize("wish", ["", None, "continue|1|", "settings|1|../x", "x"])
def test_wish_for_a_file_that_is_not_there_is_a_sentence(events, wish):
    note, *others = events.obey(wish)
    assert "note-error" in note
    assert len({str(other) for other in others}) == 1


def test_preset_leaves_alone_what_it_cannot_know(workspace):
    events = TrainEvents(workspace, FORM)
    _, *values = events.fill_from_preset("starter-style")
    assert {path for path in FORM.paths if isinstance(find(values, path), dict)} == NOT_BY_PRESET
    assert all(isinstance(answer, dict) for answer in events.fill_from_preset(OPENED))


def test_config_needs_a_dataset_where_images_are_needed(workspace):
    with pytest.raises(WorkspaceError):
        read_config_of_form(workspace, FORM, Chosen(None, "starter-model", values_of()))


def test_browser_on_another_computer_names_only_what_lies_in_the_workspace(workspace, tmp_path):
    far = replace(workspace, takes_paths=False)
    inside, outside = str(workspace.loras_path / "a.safetensors"), str(tmp_path / "x.safetensors")
    for path in PATHS:
        assert path in FORM.paths
        section, _, name = path.partition(".")
        for value, allowed in ((inside, True), ("", True), (outside, False), ("../x", False)):
            chosen = Chosen("", "starter-model", values_of(**{section: {name: value}}))
            assert read_config_of_form(workspace, FORM, chosen, needs_images=False)
            if allowed:
                assert read_config_of_form(far, FORM, chosen, needs_images=False)
            else:
                with pytest.raises(WorkspaceError, match=f"{path} names a place outside"):
                    read_config_of_form(far, FORM, chosen, needs_images=False)
