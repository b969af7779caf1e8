"""The Preview tab: asking for pictures with one adapter, with several, and with dropped files."""

import json
from pathlib import Path

import gradio as gr
import numpy
import pytest
from safetensors.numpy import save

from app.core.adapters import LORA_MARK, MAX_ADAPTERS, read_adapter_config, view_generation
from app.core.workspace import WorkspaceError
from app.library import lora_actions as loras
from app.preview import generation as drawing
from app.preview.events import PreviewEvents
from app.preview.generation import Wish
from app.preview.html import make_pictures
from tests.app.conftest import wait_for

LORA = save({"lora_unet_x.lora_down.weight": numpy.zeros((4, 8), "float16")})


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


def wish(*adapters, base_model="", prompt="a cat", **numbers):
    whole = {"seed": 1, "inference_steps": 4, "guidance": 5} | numbers
    return Wish(adapters, base_model, prompt, **whole)


def rows_of(*adapters):
    """What the browser sends of the adapters: count, then every row."""
    rows = [*adapters, *[(None, 1.0)] * (MAX_ADAPTERS - len(adapters))]
    return [len(adapters), *(value for row in rows for value in row)]


def shown_rows(updates):
    """Adapter and weight of the rows that updates for count, rows and button show."""
    count, rows = updates[0], updates[1:-1]
    pairs = [(rows[at + 1]["value"], rows[at + 2]["value"]) for at in range(0, 4 * count, 4)]
    assert [row["visible"] for row in rows[::4]] == [at < count for at in range(MAX_ADAPTERS)]
    return pairs


def test_drawing_is_asked_for_and_arrives(workspace, adapter):
    for weight in (0.5, 1.5):
        newest = drawing.draw(workspace, drawing.make_request(workspace, wish((adapter, weight))))
    wait_for(lambda: view_generation(workspace.preview).result.state == "done")
    shown = view_generation(workspace.preview)
    assert shown.id == newest
    assert shown.request.adapters[0].weight == 1.5


def test_several_adapters_keep_their_weights_and_the_base_model_of_the_first_run(
    workspace, adapter, run
):
    loras.keep_lora(workspace, drop(workspace, "mine.safetensors"))
    mix = [(f"{LORA_MARK}mine.safetensors", 0.25), (adapter, 0.75)]
    asked = drawing.make_request(workspace, wish(*mix))
    assert [one.weight for one in asked.adapters] == [0.25, 0.75]
    assert asked.adapters[0].path.endswith("loras/mine.safetensors")
    assert asked.base_model == run.config.base_model


def test_file_from_elsewhere_needs_a_base_model_chosen_by_hand(workspace):
    loras.keep_lora(workspace, drop(workspace, "mine.safetensors"))
    mine = (f"{LORA_MARK}mine.safetensors", 1)
    with pytest.raises(WorkspaceError, match="Choose a base model"):
        drawing.make_request(workspace, wish(mine))
    asked = drawing.make_request(workspace, wish(mine, base_model="starter-model"))
    assert asked.base_model.path == str(workspace.find_base_model("starter-model"))
    with pytest.raises(WorkspaceError, match="no base model"):
        drawing.make_request(workspace, wish(mine, base_model="../x"))


@pytest.mark.parametrize(
    "numbers",
    [{"seed": -1}, {"seed": 1.5}, {"seed": None}, {"inference_steps": 10**9}, {"guidance": "x"}],
)
def test_drawing_out_of_bounds_is_refused_in_words(workspace, adapter, numbers):
    with pytest.raises(WorkspaceError, match="Nothing was drawn"):
        drawing.make_request(workspace, wish((adapter, 1), **numbers))


@pytest.mark.parametrize("weight", [99, "x", None])
def test_weight_out_of_bounds_is_refused_in_words(workspace, adapter, weight):
    with pytest.raises(WorkspaceError, match="Nothing was drawn"):
        drawing.make_request(workspace, wish((adapter, 1), (adapter, weight)))


def test_list_not_painted_yet_means_the_newest_adapter(workspace, adapter):
    """Clicking Generate before the list has arrived must not say that there is nothing."""
    asked = drawing.make_request(workspace, wish((None, 1)))
    assert asked.adapters[0].path.endswith("tabby.safetensors")


@pytest.mark.parametrize("adapter", ["../../etc/passwd", "", None, "nobody/x", "file:../x"])
def test_adapter_that_is_not_listed_cannot_be_drawn_with(workspace, run, adapter):
    with pytest.raises(WorkspaceError, match="no adapter"):
        drawing.make_request(workspace, wish((adapter, 1)))


def test_generate_takes_the_shown_rows_only(workspace, adapter):
    events = PreviewEvents(workspace)
    values = [*rows_of((adapter, 0.5), (adapter, 0.7)), "", "a cat", 1, 4, 5]
    values[5:7] = ["nobody/hidden", 99]  # what a hidden row still holds
    assert events.generate(*values) == ""
    assert [one.weight for one in view_generation(workspace.preview).request.adapters] == [0.5, 0.7]


def test_rows_are_added_up_to_four_and_removed_down_to_one(workspace, adapter):
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    events = PreviewEvents(workspace)
    updates = events.add_row(*rows_of((adapter, 0.5)))
    # The new row holds what the others do not have.
    assert shown_rows(updates) == [(adapter, 0.5), ("file:mine.safetensors", 1.0)]
    for _ in range(5):
        updates = events.add_row(*rows_of(*shown_rows(updates)))
    assert len(shown_rows(updates)) == MAX_ADAPTERS
    assert updates[-1]["interactive"] is False
    rows = shown_rows(events.remove_row(0, *rows_of(*shown_rows(updates))))
    assert rows[0] == ("file:mine.safetensors", 1.0)
    for _ in range(5):
        rows = shown_rows(events.remove_row(0, *rows_of(*rows)))
    assert len(rows) == 1


def test_reloaded_page_shows_the_adapters_that_were_drawn_last(workspace, adapter):
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    mix = (("file:mine.safetensors", 0.5), (adapter, 1.5))
    drawing.draw(workspace, drawing.make_request(workspace, wish(*mix)))
    events = PreviewEvents(workspace)
    updates = events.open_page("", 1, 20, 7)
    assert shown_rows(updates[:18]) == list(mix)
    found = json.loads(updates[-1])
    assert found["was"] == ["", 1, 20, 7]
    assert found["found"][0] == wish(*mix).prompt
    # The first look at the list was sent before that came; it must not undo it.
    _, *first, _ = events.refresh_adapters({}, *rows_of((None, 1)))
    assert not any("value" in update for update in first)


def test_prompt_is_suggested_only_after_the_last_one_was_looked_for(workspace, adapter):
    events = PreviewEvents(workspace)
    found = events.open_page("", 1, 20, 7)[-1]
    assert json.loads(found)["found"] == []
    rows = rows_of((adapter, 1))
    assert events.choose("", "", *rows)[1] == gr.skip()
    assert json.loads(events.choose("", found, *rows)[1])["prompt"] == "tabbycat, a red cat"
    for path in Path(read_adapter_config(workspace, adapter).dataset.path).glob("*.txt"):
        path.unlink()
    assert json.loads(events.choose("", found, *rows)[1])["prompt"] == "tabbycat"
    assert events.choose("my own", found, *rows)[1] == gr.skip()


def test_adapter_that_vanishes_is_replaced_by_the_newest(workspace, adapter):
    events = PreviewEvents(workspace)
    seen, *_ = events.refresh_adapters({}, *rows_of(("file:gone.safetensors", 1)))
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    _, first, *_ = events.refresh_adapters(seen, *rows_of(("file:gone.safetensors", 1)))
    assert first["value"] == adapter


def write_checkpoint(run, step):
    """A checkpoint as the list of adapters knows it; returns its id."""
    folder = run.checkpoints_path / f"step-{step:06d}"
    folder.mkdir(parents=True)
    for name in ("adapter.safetensors", "meta.json"):
        (folder / name).write_bytes(LORA)
    return f"{run.id}/step-{step}"


def test_row_follows_its_run_to_the_finished_file(workspace, run):
    events = PreviewEvents(workspace)
    first = write_checkpoint(run, 100)
    seen, *_ = events.refresh_adapters({}, *rows_of((first, 1)))
    second = write_checkpoint(run, 200)
    seen, row, *_ = events.refresh_adapters(seen, *rows_of((first, 1)))
    assert row["value"] == second
    (run.path / "tabby.safetensors").write_bytes(LORA)
    seen, row, *_ = events.refresh_adapters(seen, *rows_of((second, 1)))
    assert row["value"] == f"{run.id}/tabby.safetensors"


def test_row_stays_where_a_person_put_it_or_has_drawn_with_it(workspace, run):
    events = PreviewEvents(workspace)
    older, newer = write_checkpoint(run, 100), write_checkpoint(run, 200)
    chosen, *_ = events.refresh_adapters({}, *rows_of((older, 1)))
    drawn, *_ = events.refresh_adapters({}, *rows_of((newer, 1)))
    drawing.draw(workspace, drawing.make_request(workspace, wish((newer, 1))))
    write_checkpoint(run, 300)
    for seen, kept in ((chosen, older), (drawn, newer)):
        _, row, *_ = events.refresh_adapters(seen, *rows_of((kept, 1)))
        assert len(row["choices"]) == 3
        assert "value" not in row


def test_pictures_name_the_adapters_where_there_are_several(workspace, adapter):
    (workspace.loras_path / "mine.safetensors").write_bytes(LORA)
    names = {}
    for mix in ([(adapter, 0.5)], [(adapter, 0.5), ("file:mine.safetensors", 1)]):
        drawing.draw(workspace, drawing.make_request(workspace, wish(*mix)))
        wait_for(lambda: view_generation(workspace.preview).result.state == "done")
        names[len(mix)] = make_pictures(view_generation(workspace.preview), {})
    assert "With, weight 0.5" in names[1]
    assert "With tabby 0.5 + mine 1" in names[2]


def test_dropped_file_is_kept_under_a_harmless_name_and_chosen(workspace, adapter):
    told, _, *updates = PreviewEvents(workspace).take_in(
        [drop(workspace, "../My LoRA <b>.safetensors".replace("/", "_"))], *rows_of((adapter, 0.5))
    )
    (path,) = workspace.list_loras()
    assert path.name == "_My-LoRA-b.safetensors"
    assert shown_rows(updates) == [(f"file:{path.name}", 0.5)]
    assert "is in the list now" in told
    assert list(workspace.uploads_path.iterdir()) == []


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
