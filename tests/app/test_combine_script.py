"""What the workbench's script decides when lists arrive, however late, driven in a browser."""

import copy
import json

import numpy
import pytest
from safetensors.numpy import save

from app.combine.html import VIEWS
from app.combine.recipes import FILES, list_first_values, make_task_form, read_recipe
from app.combine.workbench import ImageSettings, Workbench, write_workbench
from datasets_tools.disk import remove_file
from tests.app.test_fragments import Site

pytestmark = pytest.mark.browser

LORA = save({"lora_unet_x.lora_down.weight": numpy.zeros((4, 8), "float16")})
DATA = '<div class="fragment" data-view="workbench" data-json="true"></div>'
CAT, STYLE, THIRD = (f"file:{name}.safetensors" for name in ("cat", "style", "third"))


def list_ids():
    """Returns the ids of all that the script shows and hides."""
    for task in FILES:
        yield f"workbench-{task}"
        for field in make_task_form(task).fields:
            yield f"workbench-{task}-{field.path.replace('_', '-')}"
    for number in "1234":
        yield f"workbench-row-{number}"
        yield f"workbench-weight-{number}"
    yield from ("workbench-tuned-model", "workbench-strength")


class Page:
    """The fields of the page; the script's updates are put into them as Gradio would."""

    def __init__(self, site, workspace):
        self.site, self.workspace, self.version = site, workspace, 0
        self.now, self.props = list_first_values(), {}
        boxes = "".join(f'<div id="{one}"></div>' for one in list_ids())
        site.page.evaluate("(html) => { document.body.innerHTML = html; }", boxes)

    def add_files(self, *names):
        for name in names:
            (self.workspace.loras_path / f"{name}.safetensors").write_bytes(LORA)

    def arrive(self):
        """What the workspace holds comes, and the page's script applies it."""
        self.version += 1
        text = VIEWS["workbench"].render(self.workspace, {})
        self.site.answers["/view/workbench/-"] = (str(self.version), text)
        if self.version == 1:
            self.site.add("workbench-data", DATA)
        self.site.page.wait_for_function(f"events.length >= {self.version}")
        return self.call()

    def call(self):
        """Runs the script once; returns the paths whose values it changed."""
        changes = self.site.page.evaluate(
            "(now) => window.it.functions.arrangeWorkbench(now)", self.now
        )
        values = []
        for name, change in changes.items():
            group = isinstance(self.now[name], dict)
            for path, update in (change if group else {None: change}).items():
                place = f"{name}.{path}" if group else name
                if update is None:
                    continue
                assert update.pop("__type__") == "update"
                if "value" in update:
                    values.append(place)
                    value = update.pop("value")
                    if group:
                        self.now[name][path] = value
                    else:
                        self.now[name] = value
                self.props.setdefault(place, {}).update(update)
        return values

    def choose(self, **values):
        for name, value in values.items():
            self.now[name] = {**self.now[name], **value} if isinstance(value, dict) else value
        return self.call()

    def try_recipe(self, prompt="a cat", saved="", **fields):
        """Puts a recipe on the workbench, as if somebody had tried it in some window."""
        values = {name: self.now[name] for name in RECIPE} | fields
        tried = Workbench(read_recipe(**values), ImageSettings(prompt, 5, 1.5), saved=saved)
        write_workbench(self.workspace, tried)

    @property
    def shown(self):
        found = self.site.page.evaluate(
            "[...document.querySelectorAll('[data-shown=true]')].map((one) => one.id)"
        )
        return {one.removeprefix("workbench-") for one in found}

    def choices(self, place):
        return [value for _, value in self.props[place]["choices"]]


RECIPE = ("task", "settings", "files", "weights", "base_model", "tuned_model")


@pytest.fixture
def page(browser, workspace):
    context = browser.new_context()
    yield Page(Site(context.new_page()), workspace)
    context.close()


def test_first_page_offers_the_first_two_files(page):
    page.add_files("cat", "style", "third")
    page.arrive()
    assert page.now["files"] == {"1": CAT, "2": STYLE, "3": "", "4": ""}
    assert {"row-1", "row-2", "row-3"} <= page.shown
    assert "row-4" not in page.shown
    assert page.choices("files.1") == ["", CAT, STYLE, THIRD]
    assert page.choices("base_model") == ["", "starter-model"]


def test_first_file_of_a_workspace_is_offered_when_it_comes(page):
    page.arrive()
    assert not any(page.now["files"].values())
    page.add_files("cat")
    page.arrive()
    assert page.now["files"]["1"] == CAT
    # A row that was emptied by hand stays empty when more files come.
    page.choose(files={"1": ""})
    page.add_files("style")
    assert page.arrive() == []
    assert page.choices("files.1") == ["", CAT, STYLE]


def test_late_list_does_not_undo_a_choice(page):
    page.add_files("cat", "style", "third")
    page.arrive()
    page.choose(files={"1": THIRD}, weights={"1": 0.3}, base_model="starter-model", prompt="mine")
    before = copy.deepcopy(page.now)
    page.add_files("another")
    assert page.arrive() == []
    assert page.now == before


def test_what_is_not_there_any_more_is_taken_out_of_the_choice(page):
    page.add_files("cat", "style")
    page.arrive()
    page.choose(task="extract", base_model="starter-model", tuned_model="starter-model")
    remove_file(page.workspace.loras_path / "cat.safetensors")
    model = next(iter(page.workspace.base_models))
    remove_file(model / "model_index.json")
    changed = page.arrive()
    assert set(changed) == {"files.1", "base_model", "tuned_model"}
    assert (page.now["base_model"], page.now["tuned_model"]) == ("", None)
    assert page.now["files"]["1"] == ""
    assert page.now["files"]["2"] == STYLE


@pytest.mark.parametrize("task", FILES)
def test_only_the_fields_that_the_task_needs_are_shown(page, task):
    page.add_files("cat", "style")
    page.arrive()
    page.choose(task=task)
    fields = {
        "merge": {"method", "rank", "energy", "precision"},
        "resize": {"rank", "conv-rank", "energy", "ratio", "precision"},
        "scale": {"down-blocks", "mid-block", "up-blocks", "text-encoder", "patterns", "precision"},
        "extract": {"rank", "conv-rank", "energy", "ratio", "precision"},
    }.get(task, set())
    shown = page.shown
    assert {one.removeprefix(f"{task}-") for one in shown if one.startswith(f"{task}-")} == fields
    assert {one for one in FILES if one in shown} == {task}
    assert ("tuned-model" in shown) == (task == "extract")
    least, most = FILES[task]
    assert sum(one.startswith("row-") for one in shown) == min(most, max(least, 3))
    assert ("weight-1" in shown) == (task in {"merge", "bake", "subtract"})
    required = task in {"extract", "bake", "subtract"}
    assert page.now["base_model"] == ("starter-model" if required else "")
    assert page.props["base_model"]["choices"][0] == (
        ["—", ""] if required else ["The one that the first file was trained on", ""]
    )


def test_fields_of_a_method_are_shown_where_it_has_them(page):
    page.arrive()
    extra = {"merge-density", "merge-majority-sign", "merge-seed"}
    for method, shown in (
        ("ties", {"merge-density", "merge-majority-sign"}),
        ("dare_linear", {"merge-density", "merge-seed"}),
        ("dare_ties", extra),
        ("svd", set()),
    ):
        page.choose(settings={"merge.method": method})
        assert page.shown & extra == shown
        assert page.props["settings.merge.method"]["info"]


def test_page_that_is_opened_again_shows_what_was_tried(page):
    page.add_files("cat", "style")
    fields = {"task": "scale", "files": {"1": STYLE}, "settings": {"scale.up_blocks": 0.25}}
    page.try_recipe(**fields)
    page.arrive()
    assert page.now["task"] == "scale"
    assert page.now["files"]["1"] == STYLE
    assert page.now["settings"]["scale.up_blocks"] == 0.25
    assert (page.now["prompt"], page.now["seed"], page.now["strength"]) == ("a cat", 5, 1.5)
    assert "scale-up-blocks" in page.shown


@pytest.mark.parametrize(
    "begun", [{"prompt": "mine"}, {"task": "resize"}, {"weights": {"1": 0.5}}, {"name": "mine"}]
)
def test_what_was_tried_comes_late_and_overwrites_nothing(page, begun):
    page.add_files("cat", "style")
    page.try_recipe(task="scale", files={"1": CAT}, settings={"scale.up_blocks": 0.25})
    page.choose(**begun)
    before = copy.deepcopy(page.now)
    assert page.arrive() == []
    assert page.now == before


def test_recipe_is_shared_at_once_as_the_server_reads_it(page):
    page.add_files("cat", "style")
    page.arrive()
    page.choose(weights={"1": 0.5})
    shared = json.loads(page.site.page.evaluate("window.state.get('recipe')"))
    assert read_recipe(**shared) == read_recipe(**{name: page.now[name] for name in RECIPE})
    assert shared["weights"]["1"] == 0.5
    assert all(path.startswith("merge.") for path in shared["settings"])


def test_name_and_prompt_are_suggested_over_nothing_that_somebody_typed(page):
    page.add_files("cat", "style")
    page.arrive()
    page.try_recipe("tried prompt")
    page.arrive()
    assert (page.now["name"], page.now["prompt"]) == ("cat-and-style", "tried prompt")
    # Another attempt goes on with its own name, unless the person gave one; the prompt stays.
    page.try_recipe("another", task="resize", files={"1": CAT})
    page.arrive()
    assert (page.now["name"], page.now["prompt"]) == ("cat-resized", "tried prompt")
    page.choose(name="mine", prompt="my prompt")
    page.try_recipe("third")
    page.arrive()
    assert (page.now["name"], page.now["prompt"]) == ("mine", "my prompt")
    # A name that was used up is replaced by a free one.
    page.choose(name="cat-and-style")
    page.add_files("cat-and-style")
    page.try_recipe("third", saved="cat-and-style.safetensors")
    page.arrive()
    assert page.now["name"] == "cat-and-style"
    page.try_recipe("third")
    page.arrive()
    assert page.now["name"] == "cat-and-style-2"


def test_nothing_is_sent_twice(page):
    page.add_files("cat", "style")
    page.arrive()
    again = page.site.page.evaluate("(now) => it.functions.arrangeWorkbench(now)", page.now)
    assert not any(
        any(update for update in change.values()) if "__type__" not in change else True
        for change in again.values()
        if change
    )
