"""The Preview tab: asking for images with one adapter, with several, and with dropped files."""

import html
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from safetensors.numpy import save
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.core import generation
from app.core import lora_files as loras
from app.core.generation import GenerationRequest, find_newest_images, view_generation
from app.core.lora_files import LORA_PREFIX, read_adapter_config
from app.core.workspace import WorkspaceError
from app.preview.events import PreviewEvents
from app.preview.html import FRESH, VIEWS, make_comparison
from app.ui.components import make_images
from app.web import media
from tests.app.conftest import wait_for
from trainer.runs import PreviewProgress, request_preview
from trainer.runs.previews import is_cancelled, write_progress

LORA = save({"lora_unet_x.lora_down.weight": numpy.zeros((4, 8), "float16")})

REST = {"sampler": "", "aspect": "", "count": 1}


@pytest.fixture
def adapter(run):
    """The id of an exported file."""
    (run.path / "tabby.safetensors").write_bytes(b"x")
    return f"{run.id}/tabby.safetensors"


def drop(workspace, name, data=LORA):
    path = workspace.uploads_path / "abc" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return str(path)


def values_of(*adapters, base_model="", prompt="a cat", **numbers):
    whole = {"seed": 1, "inference_steps": 4, "guidance": 5} | numbers
    return GenerationRequest(adapters, base_model, prompt, **whole)


def make_request(workspace, *adapters, **values):
    return generation.make_request(workspace, values_of(*adapters, **values))


def rows_of(*adapters):
    """What the browser sends of the adapters, by the rows' numbers."""
    rows = [*adapters, *[(None, 1.0)] * (4 - len(adapters))]
    numbered = {str(number): row for number, row in enumerate(rows, 1)}
    return {
        "adapters": {number: adapter for number, (adapter, _) in numbered.items()},
        "weights": {number: weight for number, (_, weight) in numbered.items()},
    }


def press(events, *adapters):
    numbers = FRESH | REST | {"prompt": "a cat", "steps": 4}
    return events.generate(**rows_of(*adapters), base_model="", **numbers)


def read_view(workspace, name, **params):
    return VIEWS[name].render(workspace, params)


def read_data(workspace):
    return json.loads(read_view(workspace, "preview"))


def read_note(workspace, *adapters):
    """The note about adapters, and what is suggested for them."""
    shown = read_view(workspace, "preview-note", adapters=json.dumps(adapters))
    suggestion = re.search('data-suggestion="([^"]*)"', shown)
    return shown, json.loads(html.unescape(suggestion[1])) if suggestion else None


def test_image_is_asked_for_and_arrives(workspace, adapter):
    for weight in (0.5, 1.5):
        newest = generation.generate(workspace, make_request(workspace, (adapter, weight)))
    wait_for(lambda: view_generation(workspace.preview).result.state == "done")
    shown = view_generation(workspace.preview)
    assert shown.id == newest
    assert shown.request.adapters[0].weight == 1.5


def test_several_adapters_keep_their_weights_and_the_base_model_of_the_first_run(
    workspace, adapter, run
):
    loras.keep_lora(workspace, drop(workspace, "mine.safetensors"))
    mix = [(f"{LORA_PREFIX}mine.safetensors", 0.25), (adapter, 0.75)]
    request = make_request(workspace, *mix)
    assert [one.weight for one in request.adapters] == [0.25, 0.75]
    assert request.adapters[0].path.endswith("loras/mine.safetensors")
    assert request.base_model == run.config.base_model


def test_file_from_elsewhere_needs_a_base_model_chosen_by_hand(workspace):
    loras.keep_lora(workspace, drop(workspace, "mine.safetensors"))
    mine = (f"{LORA_PREFIX}mine.safetensors", 1)
    with pytest.raises(WorkspaceError, match="Choose a base model"):
        make_request(workspace, mine)
    request = make_request(workspace, mine, base_model="starter-model")
    assert request.base_model.path == str(workspace.find_base_model("starter-model"))
    with pytest.raises(WorkspaceError, match="no base model"):
        make_request(workspace, mine, base_model="../x")


@pytest.mark.parametrize(
    "numbers",
    [{"seed": -1}, {"seed": 1.5}, {"seed": None}, {"inference_steps": 10**9}, {"guidance": "x"}],
)
def test_request_out_of_bounds_is_refused_in_words(workspace, adapter, numbers):
    with pytest.raises(WorkspaceError, match="Nothing was generated"):
        make_request(workspace, (adapter, 1), **numbers)


@pytest.mark.parametrize("weight", [99, "x", None])
def test_weight_out_of_bounds_is_refused_in_words(workspace, adapter, weight):
    with pytest.raises(WorkspaceError, match="Nothing was generated"):
        make_request(workspace, (adapter, 1), (adapter, weight))


def test_list_not_arrived_yet_means_the_newest_adapter(workspace, adapter):
    """Clicking Generate before the list has arrived must not say that there is nothing."""
    request = make_request(workspace, (None, 1))
    assert request.adapters[0].path.endswith("tabby.safetensors")
    assert press(PreviewEvents(workspace)) == {"message": ""}
    assert view_generation(workspace.preview).request.adapters == (request.adapters[0],)


@pytest.mark.parametrize("adapter", ["../../etc/passwd", "", None, "nobody/x", "file:../x"])
def test_adapter_that_is_not_listed_cannot_be_generated_with(workspace, run, adapter):
    with pytest.raises(WorkspaceError, match="no adapter"):
        make_request(workspace, (adapter, 1))


def test_generate_takes_the_rows_that_hold_an_adapter_only(workspace, adapter):
    events = PreviewEvents(workspace)
    hidden = (None, 99)  # what is left in a row that was removed
    assert press(events, (adapter, 0.5), hidden, (adapter, 0.7)) == {"message": ""}
    request = view_generation(workspace.preview).request
    assert [one.weight for one in request.adapters] == [0.5, 0.7]
    assert "no adapter" in press(events, ("nobody/x", 1))["message"]


def test_another_weight_generates_again_once_anything_was_generated(workspace, adapter):
    events = PreviewEvents(workspace)
    values = {**rows_of((adapter, 0.5)), "base_model": "", **FRESH, **REST}
    assert events.generate_again(**values) == {}
    assert view_generation(workspace.preview) is None
    press(events, (adapter, 1))
    first = view_generation(workspace.preview).id
    assert events.generate_again(**values) == {"message": ""}
    assert view_generation(workspace.preview).id > first


def test_page_is_told_the_adapters_and_what_was_generated_last(workspace, adapter):
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    data = read_data(workspace)
    assert [one[1] for one in data["adapters"]] == [adapter, "file:mine.safetensors"]
    assert data["last"] is None
    mix = (("file:mine.safetensors", 0.5), (adapter, 1.5))
    generation.generate(workspace, make_request(workspace, *mix, seed=7))
    last = read_data(workspace)["last"]
    assert [tuple(one) for one in last["adapters"]] == list(mix)
    assert {name: last[name] for name in FRESH} == {
        "prompt": "a cat", "seed": 7, "steps": 4, "guidance": 5, "negative": "",
    }  # fmt: skip
    (workspace.loras_path / "mine.safetensors").unlink()
    assert read_data(workspace)["last"]["adapters"] == [[adapter, 1.5]]


def test_version_of_the_adapters_changes_with_a_file_and_with_a_request(workspace, adapter):
    def look():
        return VIEWS["preview"].read_version(workspace, {})

    versions = [look(), look()]
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    versions.append(look())
    press(PreviewEvents(workspace), (adapter, 1))
    versions.append(look())
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


def test_note_says_what_belongs_to_the_adapters_and_suggests_a_prompt(workspace, adapter):
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    shown, suggestion = read_note(workspace, adapter, "file:mine.safetensors")
    assert "tabby: base model starter-model, trigger tabbycat." in shown
    assert "mine: a file from elsewhere" in shown
    assert suggestion == {"prompt": "tabbycat, a red cat", "steps": 20, "guidance": 7.0}
    for path in Path(read_adapter_config(workspace, adapter).dataset.path).glob("*.txt"):
        path.unlink()
    assert read_note(workspace, adapter)[1]["prompt"] == "tabbycat"
    assert read_note(workspace, "file:mine.safetensors")[1] is None


def test_note_waits_until_the_page_has_chosen_and_takes_no_nonsense(workspace, adapter):
    assert read_view(workspace, "preview-note") == ""
    assert "no adapter" in read_note(workspace, "nobody/x")[0]
    for sent in ("[", "7", "[7]", '{"a": 1}', "[" * 99999):
        assert "tabby: base model" in read_view(workspace, "preview-note", adapters=sent)


def test_version_of_the_result_changes_when_the_images_have_come(workspace, adapter):
    def look():
        return VIEWS["preview-result"].read_version(workspace, {})

    before = look()
    press(PreviewEvents(workspace), (adapter, 1))
    waiting = look()
    wait_for(lambda: view_generation(workspace.preview).result.state == "done")
    done = look()
    assert len({before, waiting, done}) == 3
    assert look() == done


def test_images_are_compared_by_address_until_the_next_ones_are_there(workspace, adapter, gates):
    assert make_comparison("") == ""
    press(PreviewEvents(workspace), (adapter, 1))
    wait_for(lambda: find_newest_images(workspace.preview))
    first = view_generation(workspace.preview).id
    assert find_newest_images(workspace.preview) == first
    gates.close("preview")  # the worker stands there with the images written and no result
    press(PreviewEvents(workspace), (adapter, 2))
    later = view_generation(workspace.preview).id
    assert later > first
    wait_for(lambda: (workspace.preview.results_path / later / "with.png").is_file())
    shown = read_view(workspace, "preview-result")
    assert f'data-state="waiting" data-request="{later}"' in shown
    assert f'src="media/preview/{first}/without"' in shown
    assert find_newest_images(workspace.preview) == first
    gates.open("preview")
    wait_for(lambda: find_newest_images(workspace.preview) == later)


def test_request_holds_all_that_the_page_shows(workspace, adapter):
    values = rows_of((adapter, -1.5))
    more = {"sampler": "Euler a", "aspect": "3:2", "count": 3, "negative": "a dog"}
    answer = PreviewEvents(workspace).generate(**values, base_model="", **(FRESH | more))
    assert answer == {"message": ""}
    request = view_generation(workspace.preview).request
    assert (request.sampler, request.aspect, request.count) == ("Euler a", "3:2", 3)
    assert (request.negative_prompt, request.adapters[0].weight) == ("a dog", -1.5)
    for bad in ({"aspect": "3"}, {"count": 9}, {"count": 1.5}):
        wrong = PreviewEvents(workspace).generate(**values, base_model="", **(FRESH | more | bad))
        assert "Nothing was generated" in wrong["message"]


def test_step_and_image_are_shown_until_somebody_cancels(workspace, adapter, gates):
    gates.close("preview")
    press(PreviewEvents(workspace), (adapter, 1))
    generation_id = view_generation(workspace.preview).id
    assert "Generating…" in read_view(workspace, "preview-result")
    folder = workspace.preview
    write_progress(folder, generation_id, PreviewProgress(7, 25, 1, 2), b"png")
    shown = read_view(workspace, "preview-result")
    assert "Step 7 of 25 · image 1 of 2" in shown
    assert f'src="media/preview/{generation_id}/progress?at=1-7"' in shown
    assert f'data-key="{generation_id}"' in shown
    events = PreviewEvents(workspace)
    for wrong in ("../x", None, "9" * 20 + "-" + "0" * 8):
        assert "not there any more" in events.cancel(SimpleNamespace(key=wrong))["message"]
    assert not is_cancelled(folder, generation_id)
    assert events.cancel(SimpleNamespace(key=generation_id)) == {"message": ""}
    assert is_cancelled(folder, generation_id)
    result = folder.results_path / generation_id / "result.json"
    result.write_text('{"cancelled": true}')
    assert "Cancelled. Nothing further" in read_view(workspace, "preview-result")
    gates.open("preview")


def test_dice_gives_seeds_that_a_request_takes(workspace, adapter):
    events = PreviewEvents(workspace)
    seeds = {events.choose_seed()["seed"] for _ in range(5)}
    assert len(seeds) == 5
    for seed in seeds:
        assert make_request(workspace, (adapter, 1), seed=seed).seed == seed


def test_images_name_the_adapters_where_there_are_several(workspace, adapter):
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    names = {}
    for mix in ([(adapter, 0.5)], [(adapter, 0.5), ("file:mine.safetensors", 1)]):
        generation.generate(workspace, make_request(workspace, *mix))
        wait_for(lambda: view_generation(workspace.preview).result.state == "done")
        names[len(mix)] = make_images(view_generation(workspace.preview), {})
    assert "With, weight 0.5" in names[1]
    assert "With tabby 0.5 + mine 1" in names[2]


def test_dropped_file_is_kept_under_a_harmless_name_and_chosen(workspace, adapter, free_names):
    name = "../My LoRA <b>.safetensors".replace("/", "_")
    adapters = rows_of((adapter, 0.5), (adapter, 1))["adapters"]
    answer = PreviewEvents(workspace).keep_files([drop(workspace, name)], adapters)
    (path,) = workspace.list_loras()
    assert path.name == "_My-LoRA-b.safetensors"
    ((number, update),) = answer["adapters"].items()
    assert (number, update["value"]) == ("2", f"file:{path.name}")
    assert update["value"] in [one[1] for one in update["choices"]]
    assert "is in the list now" in answer["message"]
    assert answer["drop"] is None
    assert list(workspace.uploads_path.iterdir()) == []


def test_first_dropped_file_goes_into_the_first_row_and_a_refused_one_nowhere(workspace):
    events, empty = PreviewEvents(workspace), rows_of()["adapters"]
    answer = events.keep_files([drop(workspace, "a.ckpt")], empty)
    assert "adapters" not in answer
    assert "note-error" in answer["message"]
    answer = events.keep_files([drop(workspace, "a.safetensors")], empty)
    assert list(answer["adapters"]) == ["1"]


def test_file_of_the_same_content_is_kept_once_and_of_another_beside_it(workspace):
    first, known = loras.keep_lora(workspace, drop(workspace, "a.safetensors"))
    assert not known
    assert loras.keep_lora(workspace, drop(workspace, "b.safetensors")) == (first, True)
    other = save({"x.lora_down.weight": numpy.ones((4, 8), "float16")})
    second, _ = loras.keep_lora(workspace, drop(workspace, "a.safetensors", other))
    assert second.name == "a-2.safetensors"


HEADER = json.dumps({"model.diffusion_model.x": {"dtype": "F16", "shape": [1],
                                                 "data_offsets": [0, 2]}}).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [("a.ckpt", LORA, "ends in .safetensors"), ("a.safetensors", b"", "cut short"),
     ("a.safetensors", (2**40).to_bytes(8, "little") + b"{}", "announces a header"),
     ("a.safetensors", b"\x02\0\0\0\0\0\0\0hi", "not JSON"),
     ("a.safetensors", LORA[:-8], "cut short"),
     ("a.safetensors", b"\x02\0\0\0\0\0\0\0{}", "holds no weights"),
     ("a.safetensors", len(HEADER).to_bytes(8, "little") + HEADER + b"xx", "is a base model")],
)  # fmt: skip
def test_dropped_file_that_is_no_lora_is_named_and_deleted(workspace, name, data, sentence):
    with pytest.raises(WorkspaceError, match=sentence) as caught:
        loras.keep_lora(workspace, drop(workspace, name, data))
    assert name in str(caught.value)
    assert list(workspace.loras_path.iterdir()) == []
    assert list(workspace.uploads_path.iterdir()) == []


def test_dropped_file_that_is_too_large_is_refused(workspace, monkeypatch):
    monkeypatch.setattr(loras, "MAX_LORA_BYTES", 10)
    with pytest.raises(WorkspaceError, match="larger than"):
        loras.keep_lora(workspace, drop(workspace, "a.safetensors"))


def test_file_that_was_not_uploaded_is_neither_taken_nor_deleted(workspace, tmp_path):
    private = tmp_path / "private.safetensors"
    private.write_bytes(LORA)
    with pytest.raises(WorkspaceError, match="not uploaded"):
        loras.keep_lora(workspace, str(private))
    assert private.is_file()
    assert workspace.list_loras() == []


def test_image_in_progress_is_sent_whole_however_it_changes(workspace, adapter, monkeypatch):
    folder = workspace.preview
    request_id = request_preview(folder, make_request(workspace, (adapter, 1)))
    write_progress(folder, request_id, PreviewProgress(1, 9), b"x" * 5000)
    read = media.read_bytes

    def read_after_change(path):
        write_progress(folder, request_id, PreviewProgress(2, 9), b"short")
        return read(path)

    monkeypatch.setattr(media, "read_bytes", read_after_change)
    client = TestClient(Starlette(routes=media.make_routes(workspace)))
    answer = client.get(f"/media/preview/{request_id}/progress?at=1-1")
    assert (answer.status_code, answer.content) == (200, b"short")
    assert answer.headers["cache-control"] == "private, no-cache"
    assert client.get(f"/media/preview/{request_id}/result").status_code == 404
