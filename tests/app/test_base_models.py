"""Base models: which are listed, what is known of them, and how they come in."""

import html
import json
import re
import threading
from types import SimpleNamespace

import pytest

from app.core import base_models as view
from app.core import run_contents as train
from app.core.run_lists import list_choices
from app.core.workspace import Workspace, WorkspaceError, read_known
from app.models import events as change
from app.models.events import BaseModelEvents
from app.models.html import VIEWS
from tests.app.conftest import draw_images, wait_for


def put_model(folder, name):
    """A file, or for a name without an ending a folder, that looks like a base model."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if path.suffix == ".safetensors":
        path.write_bytes(b"weights")
    else:
        path.mkdir()
        (path / "model_index.json").write_text("{}")
    return path


def look(workspace, name):
    change.look_at_base_model(workspace, name)
    wait_for(lambda: view.view_base_model(workspace, name).state in {"known", "refused"})
    return view.view_base_model(workspace, name)


def test_files_and_folders_of_the_models_folder_are_listed(workspace):
    for name in ("b.safetensors", "a-folder", "notes.txt", ".partial.safetensors"):
        put_model(workspace.models_path, name) if "txt" not in name else None
    (workspace.models_path / "notes.txt").write_text("x")
    assert list(workspace.list_base_models()) == ["starter-model", "a-folder", "b.safetensors"]


def test_typed_path_is_added_once_and_stays(workspace, tmp_path):
    path = put_model(tmp_path / "mine", "dreamy.safetensors")
    for _ in range(2):
        assert change.add_base_model(workspace, f' "{path}" ') == "dreamy.safetensors"
    again = Workspace(workspace.root, workspace.base_models, workspace.trainer_command)
    assert again.list_base_models()["dreamy.safetensors"] == path.resolve()
    assert len(read_known(workspace.known_models_path).added) == 1


def test_two_of_one_name_are_told_apart_by_their_folders(workspace, tmp_path):
    put_model(workspace.models_path, "dreamy.safetensors")
    other = put_model(tmp_path / "old", "dreamy.safetensors")
    assert change.add_base_model(workspace, str(other)) == "dreamy.safetensors (old)"
    assert workspace.find_base_model("dreamy.safetensors (old)") == other.resolve()


def test_path_that_leads_to_no_base_model_is_refused_in_words(workspace, tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "old.ckpt").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for typed, sentence in (
        (str(tmp_path / "gone.safetensors"), "nothing at"),
        (str(tmp_path / "notes.txt"), "is no base model"),
        (str(tmp_path / "empty"), "model_index.json"),
        (str(tmp_path / "old.ckpt"), "pickle"),
        ("models/x.safetensors", "whole path"),
        ("", "Type the path"),
        (None, "Type the path"),
        ("/x\0y", "Type the path"),
        ("/" + "x" * 5000, "nothing at"),
    ):
        with pytest.raises(WorkspaceError, match=sentence):
            change.add_base_model(workspace, typed)
    assert not workspace.known_models_path.exists()


def test_browser_on_another_computer_may_not_name_paths(workspace, tmp_path):
    path = put_model(tmp_path, "dreamy.safetensors")
    far = Workspace(workspace.root, (), workspace.trainer_command, takes_paths=False)
    with pytest.raises(WorkspaceError, match="on the computer that Lorasmith runs on"):
        change.add_base_model(far, str(path))


def test_damaged_list_of_added_models_is_taken_for_an_empty_one(workspace):
    for text in ("", "[]", '{"added": 3}', '{"added": [], "answers": {"x": 1}}'):
        workspace.known_models_path.write_text(text)
        assert list(workspace.list_base_models()) == ["starter-model"]


def test_card_says_what_the_model_is(workspace):
    put_model(workspace.models_path, "dreamy-xl.safetensors")
    assert view.view_base_model(workspace, "dreamy-xl.safetensors").state == "unasked"
    found = look(workspace, "dreamy-xl.safetensors")
    assert (found.state, found.family, found.asks) == ("known", "sdxl", False)
    assert ("Family", "SDXL") in found.facts
    assert ("Weights", "2.0 GB") in found.facts


def test_model_that_cannot_be_trained_says_why(workspace):
    put_model(workspace.models_path, "flux-dev.safetensors")
    found = look(workspace, "flux-dev.safetensors")
    assert (found.state, found.message) == ("refused", "flux-dev.safetensors is a Flux model.")


def test_replaced_model_is_looked_at_again(workspace):
    path = put_model(workspace.models_path, "dreamy.safetensors")
    look(workspace, "dreamy.safetensors")
    path.write_bytes(b"other weights")
    assert view.view_base_model(workspace, "dreamy.safetensors").state == "unasked"


def show(workspace, fragment, **params):
    return VIEWS[fragment].render(workspace, params)


def test_card_of_a_model_says_how_far_the_look_at_it_is(workspace):
    assert "Choose a base model" in show(workspace, "base-model")
    params = {"base_model": "starter-model"}
    assert 'data-state="unasked"' in show(workspace, "base-model", **params)
    version = VIEWS["base-model"].read_version(workspace, params)
    look(workspace, "starter-model")
    card = show(workspace, "base-model", **params)
    assert 'data-state="known"' in card
    assert 'data-name="starter-model"' in card
    assert VIEWS["base-model"].read_version(workspace, params) != version
    # The page chooses the suggested preset where the chosen one does not fit.
    assert 'data-suggested="starter-style"' in card
    fitting = json.loads(html.unescape(re.search('data-fitting="(.*?)"', card)[1]))
    assert "starter-style" in fitting
    assert train.OPENED in fitting
    assert not any(name.startswith("sdxl") for name in fitting)


def test_open_question_is_asked_likely_answer_first_and_the_answer_is_kept(workspace):
    put_model(workspace.models_path, "v-pred.safetensors")
    found = look(workspace, "v-pred.safetensors")
    assert (found.asks, found.prediction, found.answered) == (True, "v_prediction", "")
    name = "v-pred.safetensors"
    question = show(workspace, "base-model-question", base_model=name)
    assert re.findall('data-key="(.*?)"', question) == ["v_prediction", "epsilon", "flow"]
    assert "checked" not in question
    assert "likely answer" in show(workspace, "base-model", base_model=name)
    events = BaseModelEvents(workspace)
    assert events.answer(SimpleNamespace(base_model=name, key="epsilon")) == {"message": ""}
    assert view.read_answers(workspace, name) == {"prediction": "epsilon"}
    question = show(workspace, "base-model-question", base_model=name)
    assert re.search('data-key="epsilon" checked', question)
    assert "likely answer" not in show(workspace, "base-model", base_model=name)
    # Choosing it again sets what was answered: the page has it from the lists (`js/models.js`).
    assert view.list_predictions(workspace) == {name: "epsilon"}
    for event in (SimpleNamespace(base_model="gone", key="epsilon"), SimpleNamespace()):
        assert "note-error" in events.answer(event)["message"]
    assert show(workspace, "base-model-question", base_model="starter-model") == ""


def test_measured_prediction_is_shown_and_used_until_the_model_is_replaced(workspace):
    name = "v-pred.safetensors"
    path = put_model(workspace.models_path, name)
    look(workspace, name)
    view.save_answer(workspace, "starter-model", "epsilon")
    view.save_measurement(workspace, path, "flow", "It predicts a flow, by measurement.")
    found = view.view_base_model(workspace, name)
    assert (found.answered, found.measured) == ("flow", "It predicts a flow, by measurement.")
    assert ("Prediction", "predicts a flow (rectified flow)") in [
        (fact, value.split(",")[0]) for fact, value in found.facts
    ]
    card = show(workspace, "base-model", base_model=name)
    assert "It predicts a flow, by measurement." in card
    assert "likely answer" not in card
    assert view.list_predictions(workspace) == {"starter-model": "epsilon", name: "flow"}
    # A person's answer comes first, and what was measured stays.
    view.save_answer(workspace, name, "v_prediction")
    assert view.read_answers(workspace, name) == {"prediction": "v_prediction"}
    assert view.view_base_model(workspace, name).measured
    path.write_bytes(b"other weights")
    look(workspace, name)
    assert view.view_base_model(workspace, name).measured == ""


def press(workspace, key="measure", name="dreamy.safetensors", dataset=None):
    """Presses a button of the card and returns what went wrong."""
    events = BaseModelEvents(workspace)
    return events.measure(dataset, SimpleNamespace(base_model=name, key=key))["message"]


def find_measuring(workspace, name="dreamy.safetensors"):
    return view.view_base_model(workspace, name).measuring


def test_a_base_model_is_measured_by_a_press_with_progress_and_evidence(workspace, gates):
    name = "dreamy.safetensors"
    put_model(workspace.models_path, name)
    look(workspace, name)
    assert 'data-key="measure"' in show(workspace, "base-model", base_model=name)
    gates.close("measure")
    assert press(workspace) == ""
    wait_for(lambda: change.read_progress(find_measuring(workspace))[0] == 6)
    card = show(workspace, "base-model", base_model=name)
    assert "Measuring: 6 of 24 answers" in card
    assert 'aria-valuenow="25"' in card
    assert 'data-key="cancel-measuring"' in card
    assert "data-measured" not in card
    gates.open("measure")
    wait_for(lambda: find_measuring(workspace).state == "done")
    card = show(workspace, "base-model", base_model=name)
    assert "predicts a flow, by measurement (on 8 images of plain shapes)" in card
    assert "Margin to the next kind: 0.42 rad" in card
    assert "0.12 rad from a flow (rectified flow), 0.54 rad from v, 0.72 rad from the noise" in card
    assert re.findall(r"<tr><th scope=.row.>(\d+)</th>", card) == ["60", "250", "750"]
    assert "<td>0.84</td>" in card
    assert 'data-measured="flow"' in card
    # What a run is told, until the model is replaced.
    assert view.read_answers(workspace, name) == {"prediction": "flow"}
    assert "Measure again" in card
    put_model(workspace.models_path, name).write_bytes(b"other weights")
    look(workspace, name)
    card = show(workspace, "base-model", base_model=name)
    assert "predicts a flow, by measurement" not in card
    assert "Margin" not in card


def test_a_base_model_is_measured_on_the_chosen_dataset(workspace):
    draw_images(workspace.datasets_path / "cats", 2)
    (workspace.datasets_path / "empty").mkdir()
    put_model(workspace.models_path, "dreamy.safetensors")
    look(workspace, "dreamy.safetensors")
    for dataset, shown in (("cats", "images of cats"), ("empty", "plain shapes")):
        assert press(workspace, dataset=dataset) == ""
        wait_for(lambda: find_measuring(workspace).state == "done")
        assert shown in show(workspace, "base-model", base_model="dreamy.safetensors")


def test_measuring_can_be_stopped_and_says_why_it_failed(workspace, gates):
    for name in ("dreamy.safetensors", "broken.safetensors", "odd.safetensors"):
        put_model(workspace.models_path, name)
        look(workspace, name)
    gates.close("measure")
    press(workspace)
    press(workspace, key="cancel-measuring")
    wait_for(lambda: find_measuring(workspace).state == "failed")
    card = show(workspace, "base-model", base_model="dreamy.safetensors")
    assert "Not measured: Stopped." in card
    assert 'data-key="measure"' in card
    gates.open("measure")
    press(workspace, name="broken.safetensors")
    wait_for(lambda: find_measuring(workspace, "broken.safetensors").state == "failed")
    card = show(workspace, "base-model", base_model="broken.safetensors")
    assert "Not measured: broken.safetensors is damaged. Download it again." in card
    press(workspace, name="odd.safetensors")
    wait_for(lambda: find_measuring(workspace, "odd.safetensors").state == "done")
    card = show(workspace, "base-model", base_model="odd.safetensors")
    assert "note-warning" in card
    assert "could not be measured" in card
    assert "data-measured" not in card
    assert "note-error" in press(workspace, name="gone")


def test_an_unknown_measurement_leaves_the_question_open(workspace):
    name = "v-pred.safetensors"
    path = put_model(workspace.models_path, name)
    look(workspace, name)
    view.save_measurement(workspace, path, "", "It could not be measured.")
    found = view.view_base_model(workspace, name)
    assert (found.asks, found.answered, found.measured) == (True, "", "It could not be measured.")
    assert view.read_answers(workspace, name) == {}


def test_chosen_model_is_looked_at_once_and_a_refusal_stays_on_the_page(workspace, monkeypatch):
    events, looks = BaseModelEvents(workspace), []

    def fail(*_):
        looks.append(1)
        raise WorkspaceError("The trainer cannot be started.")

    with monkeypatch.context() as patched:
        patched.setattr(change, "look_at_base_model", fail)
        assert "The trainer cannot be started." in events.look("starter-model")["message"]
        assert events.look(None) == {"message": ""}
        assert len(looks) == 1
    assert events.look("starter-model") == {"message": ""}
    wait_for(lambda: view.view_base_model(workspace, "starter-model").state == "known")
    monkeypatch.setattr(change, "look_at_base_model", fail)
    assert events.look("starter-model") == {"message": ""}
    assert len(looks) == 1


def test_answer_that_is_none_is_not_kept(workspace):
    with pytest.raises(WorkspaceError):
        view.save_answer(workspace, "starter-model", "magic")
    assert view.read_answers(workspace, "starter-model") == {}


def test_file_put_into_the_models_folder_is_listed_without_a_reload(workspace):
    listed = list_choices(workspace)["base_model"]
    assert listed["choices"] == [("starter-model", "starter-model")]
    put_model(workspace.models_path, "new.safetensors")
    names = [name for name, _ in list_choices(workspace)["base_model"]["choices"]]
    assert names == ["starter-model", "new.safetensors"]


def test_added_model_is_chosen_and_its_path_told_so_that_the_box_can_be_emptied(
    workspace, tmp_path
):
    path = str(put_model(tmp_path / "mine", "dreamy.safetensors"))
    added = BaseModelEvents(workspace).add(path)
    assert added["base_model"]["value"] == "dreamy.safetensors"
    assert f'data-added="{path}"' in added["message"]
    refused = BaseModelEvents(workspace).add("x.safetensors")
    assert set(refused) == {"message"}
    assert "note-error" in refused["message"]


@pytest.mark.parametrize(
    ("model", "kind", "preset"),
    [("starter-model", "starter", "starter-style"), ("dreamy", "sd15", "sd15-style-8gb"),
     ("dreamy-xl", "sdxl", "sdxl-style-8gb"), ("pony-xl", "pony", "pony-style-8gb"),
     ("noob-xl-v-pred", "vpred", "vpred-style-8gb")],
)  # fmt: skip
def test_card_suggests_a_preset_for_the_kind_of_the_model_and_says_why(
    workspace, model, kind, preset
):
    if kind != "starter":
        put_model(workspace.models_path, model)
    look(workspace, model)
    card = show(workspace, "base-model", base_model=model)
    assert f'data-kind="{kind}"' in card
    assert f'data-suggested="{preset}"' in card
    fitting = json.loads(html.unescape(re.search('data-fitting="(.*?)"', card)[1]))
    assert preset in fitting
    assert train.OPENED in fitting
    assert all(name.startswith(f"{kind}-") for name in fitting if name != train.OPENED)
    assert f"Suggested preset: {preset}. The base model counts as" in card


def test_download_shows_progress_and_says_what_has_arrived(workspace, gates):
    events = BaseModelEvents(workspace)
    gates.close("download")
    started = events.download(" owner/model ", SimpleNamespace(key="download"))
    assert started["message"] == ""
    job = json.loads(html.unescape(re.search('data-values="(.*?)"', started["progress"])[1]))["job"]
    wait_for(lambda: change.read_progress(change.find_download(workspace))[0] > 0)
    line, kind, percent = change.describe_download(change.find_download(workspace))
    assert line.startswith("Downloading owner/model: ")
    assert (kind, percent > 0) == ("info", True)
    gates.open("download")
    wait_for(lambda: change.find_download(workspace).state == "done")
    # The window that asked for it chooses what has arrived (`js/models.js`).
    for params in ({"job": job}, {}):
        shown = show(workspace, "base-model-download", **params)
        assert 'data-state="done"' in shown
        assert 'data-name="owner--model"' in shown
        assert f'data-job="{job}"' in shown


def test_download_can_be_started_while_none_is_under_way_and_stopped_while_one_is(workspace, gates):
    events = BaseModelEvents(workspace)
    gates.close("download")

    def list_enabled():
        shown = show(workspace, "base-model-download-buttons")
        buttons = re.findall("<button (.*?)>", shown)
        return [re.search('key="(.*?)"', one)[1] for one in buttons if "disabled" not in one]

    assert list_enabled() == ["download"]
    events.download("owner/model", SimpleNamespace())  # Enter in the box
    assert list_enabled() == ["cancel"]
    assert events.download("owner/model", SimpleNamespace(key="cancel")) == {}
    wait_for(lambda: change.find_download(workspace).state == "failed")
    assert list_enabled() == ["download"]
    assert "was stopped" in show(workspace, "base-model-download")
    refused = events.download("x", SimpleNamespace(key="download"))
    assert "no hub id" in refused["message"]
    assert set(refused) == {"message"}


def test_download_that_fails_or_is_stopped_says_so(workspace, gates):
    change.start_download(workspace, "nobody/none")
    wait_for(lambda: change.find_download(workspace).state == "failed")
    line, kind, _ = change.describe_download(change.find_download(workspace))
    assert kind == "error"
    assert "no nobody/none on the hub" in line
    gates.close("download")
    change.start_download(workspace, "owner/model")
    change.stop_download(workspace)
    wait_for(lambda: change.find_download(workspace).state == "failed")
    assert "was stopped" in change.describe_download(change.find_download(workspace))[0]


@pytest.mark.parametrize("typed", ["", None, "model", "http://x/y", "../x", "a/b; touch x"])
def test_what_is_no_hub_id_is_not_downloaded(workspace, typed):
    with pytest.raises(WorkspaceError, match="no hub id"):
        change.start_download(workspace, typed)
    assert change.find_download(workspace).state == "none"


def test_answers_that_are_saved_at_once_are_all_kept(workspace):
    names = [f"model-{number}.safetensors" for number in range(12)]
    for name in names:
        put_model(workspace.models_path, name)

    def save(name):
        view.save_answer(workspace, name, "v_prediction")
        path = workspace.find_base_model(name)
        view.save_measurement(workspace, path, "v_prediction", "measured")

    threads = [threading.Thread(target=save, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = read_known(workspace.known_models_path)
    assert len(known.answers) == len(known.measured) == len(names)
