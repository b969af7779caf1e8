"""The Library's workbench: drafts made, images generated with them, saved or refused."""

import json
import sys
from types import SimpleNamespace

import gradio as gr
import numpy
import pytest
from safetensors.numpy import save

from app.combine import drafts as actions
from app.combine import recipes, workbench
from app.combine.events import CombineEvents
from app.combine.html import VIEWS
from app.combine.recipes import list_first_values, make_arguments, parse_recipe, read_recipe
from app.combine.workbench import (
    DRAFT,
    ImageSettings,
    find_draft,
    read_workbench,
    stamp_workbench,
    view_workbench,
)
from app.core.generation import view_generation
from app.core.jobs import list_jobs
from app.core.workspace import Workspace, WorkspaceError
from app.ui.form import build_widget
from tests.app.conftest import HERE, end_workers, make_config, wait_for
from trainer.formats.header import read_header
from trainer.runs import create_run

LORA = save({"lora_unet_x.lora_down.weight": numpy.zeros((4, 8), "float16")})
FIELDS = ("task", "settings", "files", "weights", "base_model", "tuned_model")


@pytest.fixture
def workspace(tmp_path):
    model = tmp_path / "elsewhere" / "starter-model"
    model.mkdir(parents=True)
    (model / "model_index.json").write_text("{}")
    command = (sys.executable, str(HERE / "fake_combining.py"))
    made = Workspace(tmp_path / "workspace", (model,), command)
    made.prepare()
    for name in ("cat", "style", "third", "fourth"):
        (made.loras_path / f"{name}.safetensors").write_bytes(LORA)
    yield made
    end_workers(made.root)


@pytest.fixture
def events(workspace):
    return CombineEvents(workspace)


def values(task="merge", *files, **settings):
    """What the page sends of its fields."""
    first = list_first_values()
    numbers = list(first["files"])
    models = {"base_model": settings.pop("base_model", "starter-model")}
    models["tuned_model"] = settings.pop("tuned_model", None)
    own = {f"{task}.{name}": value for name, value in settings.items()}
    rows = dict(zip(numbers, files, strict=False))
    return {
        "task": task,
        "settings": first["settings"] | own,
        "files": first["files"] | {n: f"file:{name}.safetensors" for n, (name, _) in rows.items()},
        "weights": first["weights"] | {number: weight for number, (_, weight) in rows.items()},
        **models,
    }


def recipe_of(task="merge", *files, **settings):
    return read_recipe(**values(task, *files, **settings))


TWO = (("cat", 0.8), ("style", 1.0))


def make(workspace, recipe, **images):
    actions.try_recipe(workspace, recipe, ImageSettings(prompt="a cat", **images))
    wait_for(lambda: view_workbench(workspace).job.state != "running")
    actions.follow(workspace)
    return view_workbench(workspace, recipe)


def generated(workspace):
    """The newest images' request, once they are there."""

    def look():
        now = view_workbench(workspace).generation
        return now and now.result.state == "done"

    wait_for(look)
    return view_workbench(workspace).generation.request


def show(workspace, fields):
    """What the fragments show beside these fields, by their views."""
    params = {"recipe": json.dumps(fields)}
    return {
        name.removeprefix("workbench-"): view.render(workspace, params)
        for name, view in VIEWS.items()
        if name != "workbench"
    }


def read_data(workspace):
    return json.loads(VIEWS["workbench"].render(workspace, {}))


def can_save(shown):
    return "disabled" not in shown["save"]


def press(events, key, fields, name=""):
    event = SimpleNamespace(key=key)
    return events.press(event, prompt="a cat", seed=1, strength=1, name=name, **fields)


def option(arguments, name):
    return next(each.partition("=")[2] for each in arguments if each.startswith(f"--{name}="))


def test_merge_is_tried_drawn_and_saved_under_its_name(workspace, events):
    fields = values("merge", *TWO)
    shown = make(workspace, recipe_of("merge", *TWO))
    assert workspace.list_loras() == sorted(workspace.loras_path.glob("*.safetensors"))
    assert len(workspace.list_loras()) == 4
    asked = generated(workspace)
    assert [(one.path, one.weight) for one in asked.adapters] == [(str(shown.draft), 1.0)]
    assert can_save(show(workspace, fields))

    assert events.save("both of them", **fields) == {"refusal": ""}
    assert "Saved: both-of-them.safetensors" in show(workspace, fields)["saved"]
    header = read_header(workspace.loras_path / "both-of-them.safetensors")
    assert header.metadata["ss_output_name"] == "both-of-them"
    assert header.metadata["modelspec.title"] == "both-of-them"
    assert header.tensors["x.lora_down.weight"].shape == (4, 8)
    assert not shown.draft.exists()
    assert "both-of-them (file)" in [one.label for one in recipes.list_sources(workspace)]
    assert [path.name for path in workspace.loras_path.glob(".*")] == []
    # Generating goes on with the saved file, and there is nothing more to save.
    actions.generate_again(workspace, ImageSettings("a cat", 1, 0.5))
    assert generated(workspace).adapters[0].path.endswith("loras/both-of-them.safetensors")
    assert not can_save(show(workspace, fields))


def test_weight_is_redrawn_without_making_the_draft_again(workspace):
    draft = make(workspace, recipe_of("merge", *TWO)).draft
    before = draft.stat().st_mtime_ns
    for weight in (0.5, 1.5):
        actions.generate_again(workspace, ImageSettings("a dog", 7, weight))
        asked = generated(workspace)
        assert (asked.adapters[0].weight, asked.prompt, asked.seed) == (weight, "a dog", 7)
    assert draft.stat().st_mtime_ns == before


def test_changed_field_makes_the_draft_old_and_the_same_again_makes_it_new(workspace, events):
    make(workspace, recipe_of("merge", *TWO))
    for changed in (
        values("merge", ("cat", 0.9), TWO[1]),
        values("merge", *TWO, rank=4),
        values("merge", *TWO, method="concatenate"),
        values("resize", TWO[0]),
    ):
        shown = show(workspace, changed)
        assert "made with other settings" in shown["report"]
        assert not can_save(shown)
        with pytest.raises(WorkspaceError, match="Try again before saving"):
            actions.save(workspace, read_recipe(**changed), "x")
    # A field that a merge by svd does not use changes nothing.
    same = show(workspace, values("merge", *TWO, density=0.1, seed=3))
    assert "made with other settings" not in same["report"]
    assert can_save(same)


def test_new_draft_takes_the_place_of_the_old_one(workspace):
    old = make(workspace, recipe_of("merge", *TWO)).draft
    new = make(workspace, recipe_of("merge", *TWO, rank=4)).draft
    assert new.is_file()
    assert not old.parent.exists()
    assert len(list_jobs(workspace, DRAFT)) == 1


def test_file_that_was_replaced_is_merged_anew(workspace):
    first = make(workspace, recipe_of("merge", *TWO)).job.id
    (workspace.loras_path / "cat.safetensors").write_bytes(
        save({"lora_unet_x.lora_down.weight": numpy.ones((8, 8), "float16")})
    )
    assert make(workspace, recipe_of("merge", *TWO)).job.id != first


NAMES = {
    "A name is made of": ("", "../up", "a/b", "a..b", ".hidden", "a\\b", "x" * 90, None),
    "cannot be the name of a file or folder": ("con", "AUX.v1", "cat."),
    "already something named cat": ("cat", "cat.safetensors"),
}


def test_name_that_is_none_or_taken_is_refused(workspace):
    recipe = recipe_of("merge", *TWO)
    shown = make(workspace, recipe)
    before = sorted(workspace.root.rglob("*.safetensors"))
    for sentence, names in NAMES.items():
        for name in names:
            with pytest.raises(WorkspaceError, match=sentence):
                actions.save(workspace, recipe, name)
    assert sorted(workspace.root.rglob("*.safetensors")) == before
    assert shown.draft.is_file()


def test_disk_that_says_no_leaves_no_half_file(workspace, monkeypatch):
    recipe = recipe_of("merge", *TWO)
    draft = make(workspace, recipe).draft

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(actions.shutil, "copyfileobj", fail)
    with pytest.raises(WorkspaceError, match="Not saved: the disk is full"):
        actions.save(workspace, recipe, "both")
    assert len(list(workspace.loras_path.iterdir())) == 4
    assert draft.is_file()


def test_saving_without_a_draft_is_refused(workspace):
    recipe = recipe_of("merge", *TWO)
    with pytest.raises(WorkspaceError, match="Try it first"):
        actions.save(workspace, recipe, "x")
    make(workspace, recipe).draft.unlink()
    with pytest.raises(WorkspaceError, match="not there any more"):
        actions.save(workspace, recipe, "x")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [(["cat", "sdxl"], "different families: cat.safetensors and sdxl.safetensors"),
     (["cat", "broken"], "broken.safetensors is cut short"),
     (["cat", "dies"], "no memory for this")],
)  # fmt: skip
def test_command_that_fails_tells_its_sentence_and_leaves_nothing(
    workspace, events, files, sentence
):
    for name in ("sdxl", "dies"):
        (workspace.loras_path / f"{name}.safetensors").write_bytes(LORA)
    (workspace.loras_path / "broken.safetensors").write_bytes(b"xy")
    pairs = [(name, 1.0) for name in files]
    shown = make(workspace, recipe_of("merge", *pairs))
    report = show(workspace, values("merge", *pairs))
    assert sentence in report["report"]
    assert not can_save(report)
    assert report["images"] == ""
    assert workbench.list_work(shown.job.path) == []
    with pytest.raises(WorkspaceError, match="not there any more"):
        actions.save(workspace, recipe_of("merge", *pairs), "x")


def test_stopped_draft_says_so_and_leaves_nothing(workspace, events, gates):
    gates.close("half")
    fields = values("merge", ("cat", 1), ("style", 1))
    assert events.try_recipe("a cat", 1, 1, **fields) == {"message": ""}
    wait_for(lambda: workbench.list_work(view_workbench(workspace).job.path))
    shown = show(workspace, fields)
    assert "Working on it for" in shown["report"]
    assert "workbench-stop" in shown["stop"]
    # What programs will say is told before the file is written.
    assert "2 layers have a small alpha [A1111: file refused]" in shown["report"]
    press(events, "stop", fields)
    wait_for(lambda: view_workbench(workspace).job.state == "failed")
    assert "Stopped. Nothing was kept." in show(workspace, fields)["report"]
    assert events.follow() == {}
    assert workbench.list_work(view_workbench(workspace).job.path) == []


def test_stamp_changes_with_every_step_of_the_work(workspace, gates):
    gates.close("half")
    gates.close("preview")
    marks = [stamp_workbench(workspace)]
    actions.try_recipe(workspace, recipe_of("merge", *TWO), ImageSettings("a cat"))
    marks.append(stamp_workbench(workspace))
    gates.open("half")
    wait_for(lambda: view_workbench(workspace).job.state == "done")
    marks.append(stamp_workbench(workspace))
    actions.follow(workspace)
    marks.append(stamp_workbench(workspace))
    gates.open("preview")
    generated(workspace)
    marks.append(stamp_workbench(workspace))
    assert len(set(map(repr, marks))) == 5
    assert marks[-1] == stamp_workbench(workspace)


NONSENSE = [
    (recipe_of("merge", TWO[0]), "needs two files"),
     (recipe_of("resize"), "Choose a file"),
     (recipe_of("bake"), "Choose a file"),
     (recipe_of("merge", ("../x", 1), TWO[0]), "no file “file:../x.safetensors”"),
     (recipe_of("merge", ("cat", 3), TWO[1]), "Weight must be a number from 0 to 2"),
     (recipe_of("merge", ("cat", None), TWO[1]), "Weight must be a number"),
     (recipe_of("merge", *TWO, rank=-1), "Rank: must be greater than or equal to 0"),
     (recipe_of("merge", *TWO, rank=2.5), "Rank: must be a valid integer, but is 2.5"),
     (recipe_of("merge", *TWO, rank=None), "Rank: must be a valid integer, but is None"),
     (recipe_of("merge", *TWO, rank=float("nan")), "Rank: must be a"),
     (recipe_of("merge", *TWO, energy=0), "Energy to keep: must be greater than 0"),
     (recipe_of("merge", *TWO, energy=95), "Energy to keep: must be less than or equal to 1"),
     (recipe_of("merge", *TWO, method="dare_ties", seed=-1), "Seed of what is dropped: must be"),
     (recipe_of("merge", *TWO, method="--force"), "Method: '--force' is not allowed"),
     (recipe_of("--force", *TWO), "Choose what to do"),
     (recipe_of("merge", *TWO, base_model="../x"), "no base model “../x”"),
     (recipe_of("bake", TWO[0], base_model=""), "Choose a base model first"),
     (recipe_of("bake", TWO[0], base_model="gone"), "no base model “gone”"),
     (recipe_of("resize", TWO[0], rank=0), "Give the rank to keep"),
     (recipe_of("extract", rank=0, tuned_model="x"), "no base model “x”"),
     (recipe_of("extract", tuned_model="starter-model"), "two different base models"),
     (recipe_of("extract", tuned_model=None), "two different base models"),
     (recipe_of("scale", TWO[0]), "Nothing changes: give a block a factor"),
     (recipe_of("scale", TWO[0], patterns="--force"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], patterns="--to=1"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], patterns="unet.*=x"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], patterns="unet.*=1-1"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], down_blocks=-1), "Down blocks: must be greater than"),
]  # fmt: skip


def test_what_makes_no_sense_is_refused_before_anything_is_replaced(workspace):
    draft = make(workspace, recipe_of("merge", *TWO)).draft
    for recipe, sentence in NONSENSE:
        with pytest.raises(WorkspaceError) as caught:
            actions.try_recipe(workspace, recipe, ImageSettings("a cat"))
        assert sentence in str(caught.value)
    assert draft.is_file()
    assert read_workbench(workspace).recipe == recipe_of("merge", *TWO)


def test_commands_say_what_the_page_shows(workspace, tmp_path):
    def build(task, *files, **settings):
        return make_arguments(workspace, recipe_of(task, *files, **settings), tmp_path / "x")

    cat = str((workspace.loras_path / "cat.safetensors").resolve())
    found = build("merge", *TWO, method="dare_ties", density=0.3, seed=4, rank=8, energy=0.95,
                  majority_sign="frequency")  # fmt: skip
    assert found[:2] == ["merge", f"{cat}:0.8"]
    names = ("method", "density", "seed", "rank", "energy", "majority-sign")
    assert [option(found, one) for one in names] == [
        "dare_ties", "0.3", "4", "8", "0.95", "frequency"
    ]  # fmt: skip
    assert "--signs" in found
    assert option(found, "base-model").endswith("starter-model")
    assert not any(each.startswith(("--density", "--seed")) for each in build("merge", *TWO))
    own = build("merge", *TWO, base_model="")
    assert not any(each.startswith("--base-model") for each in own)

    patterns = "*.attn2.*=1.2 unet.mid_block.*=0"
    found = build("scale", TWO[0], up_blocks=0.5, text_encoder=0, patterns=patterns)
    assert found[:4] == ["scale", cat, "*.attn2.*=1.2", "unet.mid_block.*=0"]
    assert [option(found, one) for one in ("up-blocks", "text-encoder")] == ["0.5", "0"]
    found = build("resize", TWO[0], rank=4, conv_rank=2, ratio=20)
    assert found[:3] == ["resize", cat, "--rank=4"]
    assert [option(found, one) for one in ("conv-rank", "ratio")] == ["2", "20"]
    assert build("subtract", TWO[0])[:2] == ["subtract", f"{cat}:0.8"]
    # What some program stumbles over may be drafted and seen, but no base model is replaced.
    assert "--force" in build("resize", TWO[0], rank=4)
    assert "--force" not in build("subtract", TWO[0])


def test_files_own_base_model_is_taken_where_none_is_chosen(workspace, tmp_path):
    folder = workspace.datasets_path / workspace.create_dataset("cats")
    run = create_run(workspace.runs_path, make_config(workspace, folder))
    (run.path / "tabby.safetensors").write_bytes(LORA)
    checkpoint = run.checkpoints_path / "step-000010"
    checkpoint.mkdir(parents=True)
    for name in ("adapter.safetensors", "meta.json"):
        (checkpoint / name).write_bytes(LORA)
    fields = values("resize", TWO[0], base_model="", rank=4)
    fields["files"]["1"] = f"{run.id}/tabby.safetensors"
    recipe = read_recipe(**fields)
    arguments = make_arguments(workspace, recipe, tmp_path / "x")
    assert option(arguments, "base-model").endswith("starter-model")
    # Checkpoints are in a layout of our own, which the commands do not read.
    labels = [one.label for one in recipes.list_sources(workspace)]
    assert len(labels) == 5
    assert not any("checkpoint" in label for label in labels)
    # An empty prompt is the run's own.
    actions.try_recipe(workspace, recipe, ImageSettings())
    assert read_workbench(workspace).images.prompt == "tabbycat"


@pytest.mark.parametrize(
    ("task", "settings", "sentences"),
    [("merge", {}, ["25 % of the numbers", "by 20.0 % of its energy", "not hold 15.0 %",
      "cat + style", "+0.620", "they do much the same", "unet.b", "40.0 %"]),
     ("resize", {"rank": 4}, ["2 layers of ranks 2 to 4", "70.0 % of the energy", "unet.b"]),
     ("scale", {"up_blocks": 0.5}, ["2 of 3 layers have another strength", "1 are left out"])],
)  # fmt: skip
def test_report_is_told_in_words_and_tables(workspace, events, task, settings, sentences):
    files = TWO if task == "merge" else TWO[:1]
    make(workspace, recipe_of(task, *files, **settings))
    report = show(workspace, values(task, *files, **settings))["report"]
    assert [one for one in sentences if one not in report] == []


def test_extraction_tells_what_a_lora_cannot_hold(workspace, events):
    (workspace.models_path / "tuned.safetensors").write_bytes(LORA)
    settings = {"tuned_model": "tuned.safetensors", "rank": 4}
    make(workspace, recipe_of("extract", **settings))
    report = show(workspace, values("extract", **settings))["report"]
    assert "3 layers are equal" in report
    assert "first unet.conv_in.weight" in report
    assert generated(workspace).base_model.path.endswith("starter-model")


@pytest.mark.parametrize(("task", "sign"), [("bake", 1), ("subtract", -1)])
def test_base_model_is_seen_before_it_is_written(workspace, events, task, sign):
    fields = values(task, *TWO)
    make(workspace, recipe_of(task, *TWO))
    assert list(workspace.models_path.iterdir()) == []
    asked = generated(workspace)
    assert [one.weight for one in asked.adapters] == [sign * 0.8, sign * 1.0]
    shown = show(workspace, fields)
    assert can_save(shown)
    assert not read_data(workspace)["weighted"]

    assert events.save("starter-cat", **fields) == {"refusal": ""}
    wait_for(lambda: view_workbench(workspace).job.state == "done")
    assert "Saved: starter-cat is in the list of base models" in show(workspace, fields)["saved"]
    assert "starter-cat" in workspace.list_base_models()
    with pytest.raises(WorkspaceError, match="already something named starter-cat"):
        actions.save(workspace, recipe_of(task, *TWO), "starter-cat")


def test_base_model_that_cannot_be_written_says_why(workspace, events):
    (workspace.loras_path / "sdxl.safetensors").write_bytes(LORA)
    fields = values("bake", ("sdxl", 1.0))
    make(workspace, read_recipe(**fields))
    events.save("mine", **fields)
    wait_for(lambda: view_workbench(workspace).job.state == "failed")
    shown = show(workspace, fields)
    assert "made for different families: sdxl.safetensors" in shown["saved"]
    assert can_save(shown)
    assert list(workspace.models_path.iterdir()) == []


def test_draft_without_a_base_model_is_made_but_not_drawn(workspace, events):
    fields = values("merge", *TWO, base_model="")
    shown = make(workspace, read_recipe(**fields))
    assert shown.draft.is_file()
    painted = show(workspace, fields)
    assert "Choose a base model" in painted["images"]
    assert can_save(painted)


def test_workbench_and_preview_tab_do_not_show_each_others_pictures(workspace):
    make(workspace, recipe_of("merge", *TWO))
    generated(workspace)
    assert view_generation(workspace.preview) is None


def test_page_that_is_opened_again_is_told_what_was_tried(workspace, events):
    fields = values("scale", TWO[0], up_blocks=0.25, patterns="unet.mid_block.*=0")
    events.try_recipe("a cat", 5, 1.5, **fields)
    last = read_data(workspace)["last"]
    assert (last["prompt"], last["seed"], last["strength"]) == ("a cat", 5, 1.5)
    assert read_recipe(**{name: last[name] for name in FIELDS}) == read_recipe(**fields)


def test_recipe_is_shared_by_the_page_as_the_handlers_read_it(workspace):
    for fields in (
        values("merge", *TWO, method="ties", density=0.25),
        values("extract", tuned_model="x", rank=4),
        values("scale", TWO[0], patterns="a=1\nb=2"),
    ):
        assert parse_recipe(json.dumps(fields)) == read_recipe(**fields)


@pytest.mark.parametrize(
    "shared",
    ["", "[]", "7", "{", "null", '{"task": "merge"}', "[" * 100_000,
     '{"task": "merge", "settings": [], "files": {}, "weights": {}}',
     '{"task": "merge", "settings": {}, "files": 7, "weights": {}}',
     '{"task": "merge", "settings": {}, "files": {}, "weights": {}, "more": 1}'],
)  # fmt: skip
def test_what_is_no_recipe_is_none(workspace, shared):
    assert parse_recipe(shared) is None
    report = VIEWS["workbench-report"]
    assert "Try it first" in report.render(workspace, {"recipe": shared})
    assert report.read_version(workspace, {"recipe": shared})


def test_versions_change_with_what_is_shown(workspace):
    params = {"recipe": json.dumps(values("merge", *TWO))}

    def read():
        return {name: view.read_version(workspace, params) for name, view in VIEWS.items()}

    first = read()
    assert first == read()
    make(workspace, recipe_of("merge", *TWO))
    generated(workspace)
    second = read()
    assert all(first[name] != second[name] for name in VIEWS)
    (workspace.loras_path / "late.safetensors").write_bytes(LORA)
    assert read()["workbench"] != second["workbench"]
    params["recipe"] = json.dumps(values("resize", TWO[0]))
    assert read()["workbench-save"] != second["workbench-save"]


def test_what_a_press_says_is_checked(workspace, events):
    fields = values("merge", *TWO)
    assert press(events, "", fields) == {}
    assert press(events, "delete", fields) == {}
    assert events.press(SimpleNamespace(), prompt="", seed=1, strength=1, name="", **fields) == {}
    assert "not there any more" in press(events, "again", fields)["message"]
    assert "Try it first" in press(events, "save", fields, "x")["refusal"]
    make(workspace, recipe_of("merge", *TWO))
    assert press(events, "again", fields) == {"message": ""}
    assert "A name is made of" in press(events, "save", fields, "../x")["refusal"]
    assert press(events, "save", fields, "x") == {"refusal": ""}


def test_name_is_suggested_that_is_free(workspace):
    assert actions.suggest_name(workspace, recipe_of("merge", *TWO)) == "cat-and-style"
    assert actions.suggest_name(workspace, recipe_of("resize", TWO[0], rank=4)) == "cat-resized"
    (workspace.loras_path / "cat-and-style.safetensors").write_bytes(LORA)
    assert actions.suggest_name(workspace, recipe_of("merge", *TWO)) == "cat-and-style-2"
    make(workspace, recipe_of("merge", *TWO))
    assert read_data(workspace)["suggestion"] == "cat-and-style-2"


@pytest.mark.parametrize("task", recipes.FILES)
def test_every_setting_has_a_widget_with_its_label_and_help(task):
    for field in recipes.make_task_form(task).fields:
        with gr.Blocks():
            widget = build_widget(field, element_id=f"it-{field.path}", sliders=True)
        assert (widget.label, widget.elem_id) == (field.label, f"it-{field.path}")
        assert field.help in widget.info
        if field.kind == "number" and field.path != "ratio":
            assert isinstance(widget, gr.Slider)
            assert widget.minimum in {0, 0.005}  # what must be above 0 begins with the first step
            assert widget.maximum in {1, 2}
        assert not isinstance(widget, gr.Slider) or field.kind == "number"


def test_choices_have_the_names_that_they_are_given():
    field = next(one for one in recipes.make_task_form("merge").fields if one.path == "method")
    with gr.Blocks():
        widget = build_widget(field, labels={"svd": "Sum"})
    assert ("Sum", "svd") in widget.choices
    assert ("ties", "ties") in widget.choices


def test_damaged_memory_of_the_workbench_is_an_empty_one(workspace, events):
    for text in ("", "[]", "{", '{"recipe": 7}', json.dumps({"recipe": {"task": "merge"}})):
        workspace.workbench_path.write_text(text)
        assert read_workbench(workspace) is None
        assert "Try it first" in show(workspace, values("merge", *TWO))["report"]


def test_names_of_files_are_shown_as_text(workspace, events, free_names):
    hostile = "<img src=x onerror=alert(1)>"
    (workspace.loras_path / f"{hostile}.safetensors").write_bytes(LORA)
    fields = values("merge", (hostile, 1.0), TWO[0])
    make(workspace, read_recipe(**fields))
    assert find_draft(workspace, read_workbench(workspace)) is not None
    report = show(workspace, fields)["report"]
    assert "&lt;img src=x" in report
    assert "<img" not in report
