"""The Library's workbench: drafts made, drawn, and saved or refused."""

import json
import sys

import numpy
import pytest
from safetensors.numpy import save

from app.combine import drafts as actions
from app.combine import recipes, workbench
from app.combine.events import DEFAULTS, WorkbenchEvents
from app.combine.recipe_commands import make_arguments
from app.combine.recipes import SETTINGS, read_recipe
from app.combine.workbench import DRAFT, Look, find_draft, read_bench, stamp_bench, view_bench
from app.core.adapters import view_drawing
from app.core.jobs import list_errands, stop_errand
from app.core.workspace import Workspace, WorkspaceError
from tests.app.conftest import HERE, make_config, wait_for
from trainer.formats.header import read_header
from trainer.runs import create_run

LORA = save({"lora_unet_x.lora_down.weight": numpy.zeros((4, 8), "float16")})
# What `show` returns after its memory.
SHOWN = ("report", "stop", "drawing", "strength", "again", "save", "saved")


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
    for errand in list_errands(made, DRAFT):
        stop_errand(made, errand.id)


@pytest.fixture
def events(workspace):
    return WorkbenchEvents(workspace)


def values(task="merge", *files, **settings):
    """What the page sends of its fields."""
    given = DEFAULTS | {"base_model": "starter-model"} | settings
    rows = [(f"file:{name}.safetensors", weight) for name, weight in files]
    rows += [("", 1.0)] * (4 - len(rows))
    return [task, *(given[name] for name in SETTINGS), *(one for row in rows for one in row)]


def recipe_of(task="merge", *files, **settings):
    fields = values(task, *files, **settings)
    return read_recipe(fields[0], fields[1:])


TWO = (("cat", 0.8), ("style", 1.0))


def make(workspace, recipe, **look):
    actions.try_recipe(workspace, recipe, Look(prompt="a cat", **look))
    wait_for(lambda: view_bench(workspace).errand.state != "running")
    actions.follow(workspace)
    return view_bench(workspace, recipe)


def drawn(workspace):
    wait_for(lambda: (now := view_bench(workspace).drawing) and now.result.state == "done")
    return view_bench(workspace).drawing


def show(events, fields):
    seen, *parts = events.show({}, *fields)
    assert seen
    return dict(zip(SHOWN, parts, strict=True))


def option(arguments, name):
    return next(each.partition("=")[2] for each in arguments if each.startswith(f"--{name}="))


def test_merge_is_tried_drawn_and_saved_under_its_name(workspace, events):
    fields = values("merge", *TWO)
    shown = make(workspace, recipe_of("merge", *TWO))
    assert workspace.list_loras() == sorted(workspace.loras_path.glob("*.safetensors"))
    assert len(workspace.list_loras()) == 4
    asked = drawn(workspace).asked
    assert [(one.path, one.weight) for one in asked.adapters] == [(str(shown.draft), 1.0)]
    assert show(events, fields)["save"]["interactive"]

    assert events.save("both of them", *fields) == ""
    assert "Saved: both-of-them.safetensors" in show(events, fields)["saved"]
    header = read_header(workspace.loras_path / "both-of-them.safetensors")
    assert header.metadata["ss_output_name"] == "both-of-them"
    assert header.metadata["modelspec.title"] == "both-of-them"
    assert header.tensors["x.lora_down.weight"].shape == (4, 8)
    assert not shown.draft.exists()
    assert "both-of-them (file)" in [one.label for one in recipes.list_sources(workspace)]
    assert [path.name for path in workspace.loras_path.glob(".*")] == []
    # Drawing goes on with the saved file, and there is nothing more to save.
    actions.redraw(workspace, Look("a cat", 1, 0.5))
    assert drawn(workspace).asked.adapters[0].path.endswith("loras/both-of-them.safetensors")
    assert not show(events, fields)["save"]["interactive"]


def test_weight_is_redrawn_without_making_the_draft_again(workspace):
    draft = make(workspace, recipe_of("merge", *TWO)).draft
    before = draft.stat().st_mtime_ns
    for weight in (0.5, 1.5):
        actions.redraw(workspace, Look("a dog", 7, weight))
        asked = drawn(workspace).asked
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
        shown = show(events, changed)
        assert "made with other settings" in shown["report"]
        assert not shown["save"]["interactive"]
        with pytest.raises(WorkspaceError, match="Try again before saving"):
            actions.save(workspace, read_recipe(changed[0], changed[1:]), "x")
    # A field that a merge by svd does not use changes nothing.
    same = show(events, values("merge", *TWO, density=10, seed=3, down=0))
    assert "made with other settings" not in same["report"]
    assert same["save"]["interactive"]


def test_new_draft_takes_the_place_of_the_old_one(workspace):
    old = make(workspace, recipe_of("merge", *TWO)).draft
    new = make(workspace, recipe_of("merge", *TWO, rank=4)).draft
    assert new.is_file()
    assert not old.parent.exists()
    assert len(list_errands(workspace, DRAFT)) == 1


def test_file_that_was_replaced_is_merged_anew(workspace):
    first = make(workspace, recipe_of("merge", *TWO)).errand.id
    (workspace.loras_path / "cat.safetensors").write_bytes(
        save({"lora_unet_x.lora_down.weight": numpy.ones((8, 8), "float16")})
    )
    assert make(workspace, recipe_of("merge", *TWO)).errand.id != first


NAMES = {
    "A name is made of": ("", "../up", "a/b", "a..b", "con", ".hidden", "a\\b", "x" * 90, None),
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
    report = show(events, values("merge", *pairs))
    assert sentence in report["report"]
    assert not report["save"]["interactive"]
    assert report["drawing"] == ""
    assert workbench.list_work(shown.errand.path) == []
    with pytest.raises(WorkspaceError, match="not there any more"):
        actions.save(workspace, recipe_of("merge", *pairs), "x")


def test_stopped_draft_says_so_and_leaves_nothing(workspace, events):
    (workspace.loras_path / "slow.safetensors").write_bytes(LORA)
    fields = values("merge", ("cat", 1), ("slow", 1))
    events.try_it("a cat", 1, 1, "", *fields)
    wait_for(lambda: workbench.list_work(view_bench(workspace).errand.path))
    shown = show(events, fields)
    assert "Working on it for" in shown["report"]
    assert shown["stop"]["visible"]
    # What programs will say is told before the file is written.
    assert "2 layers have a small alpha [A1111: file refused]" in shown["report"]
    events.stop()
    wait_for(lambda: view_bench(workspace).errand.state == "failed")
    assert "Stopped. Nothing was kept." in show(events, fields)["report"]
    assert workbench.list_work(view_bench(workspace).errand.path) == []


def test_mark_changes_with_every_step_of_the_work(workspace):
    marks = [stamp_bench(workspace)]
    actions.try_recipe(workspace, recipe_of("merge", *TWO), Look("a cat"))
    marks.append(stamp_bench(workspace))
    wait_for(lambda: view_bench(workspace).errand.state == "done")
    marks.append(stamp_bench(workspace))
    actions.follow(workspace)
    marks.append(stamp_bench(workspace))
    drawn(workspace)
    marks.append(stamp_bench(workspace))
    assert len(set(marks)) == 5
    assert marks[-1] == stamp_bench(workspace)


NONSENSE = [
    (recipe_of("merge", TWO[0]), "needs two files"),
     (recipe_of("resize"), "Choose a file"),
     (recipe_of("bake"), "Choose a file"),
     (recipe_of("merge", ("../x", 1), TWO[0]), "no file “file:../x.safetensors”"),
     (recipe_of("merge", ("cat", 3), TWO[1]), "Weight must be a number from 0 to 2"),
     (recipe_of("merge", ("cat", None), TWO[1]), "Weight must be a number"),
     (recipe_of("merge", *TWO, rank=-1), "Rank must be a number from 0"),
     (recipe_of("merge", *TWO, rank=2.5), "Rank must be a whole number"),
     (recipe_of("merge", *TWO, rank=None), "Rank must be a number"),
     (recipe_of("merge", *TWO, rank=float("nan")), "Rank must be a number"),
     (recipe_of("merge", *TWO, energy=0), "must be a number from 1 to 100"),
     (recipe_of("merge", *TWO, method="dare_ties", seed=-1), "Seed of the draw must be"),
     (recipe_of("merge", *TWO, method="--force"), "Choose what to do"),
     (recipe_of("--force", *TWO), "Choose what to do"),
     (recipe_of("merge", *TWO, base_model="../x"), "no base model “../x”"),
     (recipe_of("bake", TWO[0], base_model=""), "Choose a base model first"),
     (recipe_of("bake", TWO[0], base_model="gone"), "no base model “gone”"),
     (recipe_of("resize", TWO[0], rank=0), "Say how much to keep"),
     (recipe_of("extract", rank=0, tuned_model="x"), "no base model “x”"),
     (recipe_of("extract", tuned_model="starter-model"), "two different base models"),
     (recipe_of("extract", tuned_model=None), "two different base models"),
     (recipe_of("scale", TWO[0]), "Move a slider"),
     (recipe_of("scale", TWO[0], patterns="--force"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], patterns="--to=1"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], patterns="unet.*=x"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], patterns="unet.*=1-1"), "is no PATTERN=FACTOR"),
     (recipe_of("scale", TWO[0], down=-1), "Down blocks must be a number from 0 to 2"),
]  # fmt: skip


def test_what_makes_no_sense_is_refused_before_anything_is_replaced(workspace):
    draft = make(workspace, recipe_of("merge", *TWO)).draft
    for recipe, sentence in NONSENSE:
        with pytest.raises(WorkspaceError) as caught:
            actions.try_recipe(workspace, recipe, Look("a cat"))
        assert sentence in str(caught.value)
    assert draft.is_file()
    assert read_bench(workspace).recipe == recipe_of("merge", *TWO)


def test_commands_say_what_the_page_shows(workspace, tmp_path):
    def build(task, *files, **settings):
        return make_arguments(workspace, recipe_of(task, *files, **settings), tmp_path / "x")

    cat = str((workspace.loras_path / "cat.safetensors").resolve())
    found = build("merge", *TWO, method="dare_ties", density=30, seed=4, rank=8, energy=95)
    assert found[:2] == ["merge", f"{cat}:0.8"]
    assert [option(found, one) for one in ("method", "density", "seed", "rank", "energy")] == [
        "dare_ties", "0.3", "4", "8", "0.95"
    ]  # fmt: skip
    assert option(found, "base-model").endswith("starter-model")
    assert not any(each.startswith(("--density", "--seed")) for each in build("merge", *TWO))
    own = build("merge", *TWO, base_model="")
    assert not any(each.startswith("--base-model") for each in own)

    found = build("scale", TWO[0], up=0.5, text=0, patterns="*.attn2.*=1.2 unet.mid_block.*=0")
    assert found[:6] == [
        "scale", cat, "*.attn2.*=1.2", "unet.mid_block.*=0", "unet.up_blocks.*=0.5",
        "text_encoder*=0",
    ]  # fmt: skip
    assert build("resize", TWO[0], rank=4)[:3] == ["resize", cat, "--rank=4"]
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
    fields[1 + len(SETTINGS)] = f"{run.id}/tabby.safetensors"
    recipe = read_recipe(fields[0], fields[1:])
    arguments = make_arguments(workspace, recipe, tmp_path / "x")
    assert option(arguments, "base-model").endswith("starter-model")
    # Checkpoints are in a layout of our own, which the commands do not read.
    labels = [one.label for one in recipes.list_sources(workspace)]
    assert len(labels) == 5
    assert not any("checkpoint" in label for label in labels)
    # An empty prompt is the run's own.
    actions.try_recipe(workspace, recipe, Look())
    assert read_bench(workspace).look.prompt == "tabbycat"


@pytest.mark.parametrize(
    ("task", "settings", "sentences"),
    [("merge", {}, ["25 % of the numbers", "by 20.0 % of its energy", "not hold 15.0 %",
      "cat + style", "+0.620", "they do much the same", "unet.b", "40.0 %"]),
     ("resize", {"rank": 4}, ["2 layers of ranks 2 to 4", "70.0 % of the energy", "unet.b"]),
     ("scale", {"up": 0.5}, ["2 of 3 layers have another strength", "1 are left out"])],
)  # fmt: skip
def test_report_is_told_in_words_and_tables(workspace, events, task, settings, sentences):
    files = TWO if task == "merge" else TWO[:1]
    make(workspace, recipe_of(task, *files, **settings))
    report = show(events, values(task, *files, **settings))["report"]
    assert [one for one in sentences if one not in report] == []


def test_extraction_tells_what_a_lora_cannot_hold(workspace, events):
    (workspace.models_path / "tuned.safetensors").write_bytes(LORA)
    settings = {"tuned_model": "tuned.safetensors", "rank": 4}
    make(workspace, recipe_of("extract", **settings))
    report = show(events, values("extract", **settings))["report"]
    assert "3 layers are equal" in report
    assert "first unet.conv_in.weight" in report
    assert drawn(workspace).asked.base_model.path.endswith("starter-model")


@pytest.mark.parametrize(("task", "sign"), [("bake", 1), ("subtract", -1)])
def test_base_model_is_seen_before_it_is_written(workspace, events, task, sign):
    fields = values(task, *TWO)
    make(workspace, recipe_of(task, *TWO))
    assert list(workspace.models_path.iterdir()) == []
    asked = drawn(workspace).asked
    assert [one.weight for one in asked.adapters] == [sign * 0.8, sign * 1.0]
    shown = show(events, fields)
    assert shown["save"]["interactive"]
    assert not shown["strength"]["visible"]

    assert events.save("starter-cat", *fields) == ""
    wait_for(lambda: view_bench(workspace).errand.state == "done")
    assert "Saved: starter-cat is in the list of base models" in show(events, fields)["saved"]
    assert "starter-cat" in workspace.list_base_models()
    with pytest.raises(WorkspaceError, match="already something named starter-cat"):
        actions.save(workspace, recipe_of(task, *TWO), "starter-cat")


def test_base_model_that_cannot_be_written_says_why(workspace, events):
    (workspace.loras_path / "sdxl.safetensors").write_bytes(LORA)
    fields = values("bake", ("sdxl", 1.0))
    make(workspace, read_recipe(fields[0], fields[1:]))
    events.save("mine", *fields)
    wait_for(lambda: view_bench(workspace).errand.state == "failed")
    shown = show(events, fields)
    assert "made for different families: sdxl.safetensors" in shown["saved"]
    assert shown["save"]["interactive"]
    assert list(workspace.models_path.iterdir()) == []


def test_draft_without_a_base_model_is_made_but_not_drawn(workspace, events):
    fields = values("merge", *TWO, base_model="")
    shown = make(workspace, read_recipe(fields[0], fields[1:]))
    assert shown.draft.is_file()
    painted = show(events, fields)
    assert "Choose a base model" in painted["drawing"]
    assert painted["save"]["interactive"]


def test_workbench_and_preview_tab_do_not_show_each_others_pictures(workspace):
    make(workspace, recipe_of("merge", *TWO))
    drawn(workspace)
    assert view_drawing(workspace.preview) is None


def test_reloaded_page_shows_what_was_tried(workspace, events):
    fields = values("scale", TWO[0], up=0.25, patterns="unet.mid_block.*=0")
    events.try_it("a cat", 5, 1.5, "", *fields)
    look, shown = (updates := events.open_page())[:3], updates[3:]
    assert look == ["a cat", 5, 1.5]
    assert read_recipe(shown[0]["value"], [one["value"] for one in shown[1:]]) == read_recipe(
        fields[0], fields[1:]
    )


def test_first_page_offers_the_first_two_files(workspace, events):
    shown = events.open_page()[3:]
    rows = shown[1 + len(SETTINGS) :]
    assert [row["value"] for row in rows[::2]] == [
        "file:cat.safetensors", "file:fourth.safetensors", "", "",
    ]  # fmt: skip
    assert [row["visible"] for row in rows] == [True] * 6 + [False] * 2


def test_first_file_of_a_workspace_is_offered_when_it_comes(workspace, events):
    for path in workspace.list_loras():
        path.unlink()
    seen, *_ = events.refresh({}, *values("resize"))
    (workspace.loras_path / "first.safetensors").write_bytes(LORA)
    seen, *updates = events.refresh(seen, *values("resize"))
    assert updates[1 + len(SETTINGS)]["value"] == "file:first.safetensors"
    # A row that was emptied by hand stays empty when more files come.
    (workspace.loras_path / "second.safetensors").write_bytes(LORA)
    _, *updates = events.refresh(seen, *values("resize"))
    assert "value" not in updates[1 + len(SETTINGS)]


@pytest.mark.parametrize(
    ("task", "shown"),
    [("merge", {"method", "rank", "energy", "precision", "base_model"}),
     ("resize", {"rank", "energy", "precision", "base_model"}),
     ("scale", {"down", "middle", "up", "text", "patterns", "precision", "base_model"}),
     ("extract", {"base_model", "tuned_model", "rank", "energy", "precision"}),
     ("bake", {"base_model"}), ("subtract", {"base_model"})],
)  # fmt: skip
def test_only_the_fields_that_the_task_needs_are_shown(events, task, shown):
    updates = events.choose_task(*values(task, *TWO))
    visible = {name for name, one in zip(SETTINGS, updates[1:], strict=False) if one["visible"]}
    assert visible == shown
    least, most = recipes.FILES[task]
    rows = updates[1 + len(SETTINGS) :: 2]
    assert sum(row["visible"] for row in rows) == min(most, max(least, 3))


def test_what_is_not_there_any_more_is_taken_out_of_the_choice(workspace, events):
    fields = values("extract", ("gone", 1), base_model="gone", tuned_model="gone")
    _, _, *updates = events.refresh({}, *fields)
    named = dict(zip(SETTINGS, updates, strict=False))
    assert (named["base_model"]["value"], named["tuned_model"]["value"]) == ("", None)
    assert updates[len(SETTINGS)]["value"] == ""
    # What is there stays the person's choice: a late answer must not undo it.
    _, _, *updates = events.refresh({}, *values("merge", *TWO))
    assert not any("value" in one for one in updates)


def test_density_and_seed_are_asked_where_the_method_has_them(events):
    for method, extra in (("ties", {"density"}), ("dare_ties", {"density", "seed"}), ("svd", ())):
        _, *updates = events.refresh({}, *values("merge", *TWO, method=method))
        named = dict(zip(SETTINGS, updates[1:], strict=False))
        assert {name for name in ("density", "seed") if named[name]["visible"]} == set(extra)


def test_name_is_suggested_until_the_person_gives_one(events, workspace):
    def suggested(name, *fields):
        answer = events.try_it("a cat", 1, 1, name, *fields)[2]
        return answer if isinstance(answer, str) else None

    merge, resize = values("merge", *TWO), values("resize", TWO[0], rank=4)
    assert suggested("", *merge) == "cat-and-style"
    assert suggested("cat-and-style", *resize) == "cat-resized"
    assert suggested("mine", *merge) is None
    (workspace.loras_path / "cat-and-style.safetensors").write_bytes(LORA)
    assert suggested("", *merge) == "cat-and-style-2"


def test_damaged_memory_of_the_workbench_is_an_empty_one(workspace, events):
    for text in ("", "[]", "{", '{"recipe": 7}', json.dumps({"recipe": {"task": "merge"}})):
        workspace.workbench_path.write_text(text)
        assert read_bench(workspace) is None
        assert "Try it first" in show(events, values("merge", *TWO))["report"]


def test_names_of_files_are_shown_as_text(workspace, events):
    hostile = "<img src=x onerror=alert(1)>"
    (workspace.loras_path / f"{hostile}.safetensors").write_bytes(LORA)
    fields = values("merge", (hostile, 1.0), TWO[0])
    make(workspace, read_recipe(fields[0], fields[1:]))
    assert find_draft(workspace, read_bench(workspace)) is not None
    report = show(events, fields)["report"]
    assert "&lt;img src=x" in report
    assert "<img" not in report
