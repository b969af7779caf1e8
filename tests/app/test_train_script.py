"""What the Train tab's script decides in a browser; every answer may come late."""

import html
import json

import pytest
from playwright.sync_api import expect

from app.train import preset_rows
from app.train.settings import START_FROM
from tests.app.test_fragments import Site
from trainer.config import Choice, list_choices, list_goals, list_presets

pytestmark = pytest.mark.browser


@pytest.fixture
def site(browser):
    context = browser.new_context()
    yield Site(context.new_page())
    context.close()


def call(site, name, /, **now):
    """Runs one of the page's functions with the values of its widgets; returns what it changes."""
    return site.page.evaluate("([name, now]) => window.it.functions[name](now)", [name, now])


PRESET = "/view/preset/style?first=preset"
STEPS, RANK = "train.steps", "adapter.rank"
ROWS = {"kind": "sd15", "goal": "style", "memory": "8", "care": "balanced"}
FORM = {
    "preset": "style",
    "dataset": "cats",
    "base_model": "starter",
    "rows": ROWS,
    "values": {STEPS: 10, RANK: 4, START_FROM: None},
}


def choose_preset(site, preset="style", **now):
    site.page.evaluate(
        "(now) => { window.filling = window.it.functions.askForm(now); }",
        {**FORM, "preset": preset, **now},
    )


def answer(site, path, **content):
    site.answers[path] = ("", json.dumps(content))


def release(site, path):
    (route,) = [one for one in site.held if one.request.url.endswith(path)]
    route.fulfill(body=site.answers[path][1])
    site.page.evaluate("window.filling")


def test_preset_fills_the_boxes_and_says_what_it_is_for(site):
    answer(site, PRESET, note="<p>A style.</p>", values={STEPS: 200, RANK: 16})
    choose_preset(site)
    site.page.evaluate("window.filling")
    filled = call(site, "fillForm", **FORM)
    assert filled == {"note": "<p>A style.</p>", "values": {STEPS: 200, RANK: 16}}
    assert call(site, "fillForm", **FORM) == {}  # once


def test_box_that_was_typed_in_since_the_preset_was_chosen_keeps_its_text(site):
    answer(site, PRESET, note="", values={STEPS: 200, RANK: 16, START_FROM: ""})
    site.hold = (PRESET,)
    choose_preset(site)
    site.page.wait_for_timeout(100)
    assert call(site, "fillForm", **FORM) == {}  # nothing has come yet
    release(site, PRESET)
    # A box that was not drawn yet held null, and "" afterwards: nobody has typed in it.
    typed = {STEPS: 7, RANK: 4, START_FROM: ""}
    filled = call(site, "fillForm", **{**FORM, "values": typed})
    assert filled["values"] == {RANK: 16, START_FROM: ""}


def test_answer_for_a_preset_that_is_not_chosen_any_more_fills_nothing(site):
    other = PRESET.replace("style", "character")
    answer(site, PRESET, note="style", values={STEPS: 200})
    answer(site, other, note="character", values={STEPS: 300})
    site.hold = (PRESET,)
    choose_preset(site)
    choose_preset(site, "character")
    site.page.evaluate("window.filling")
    assert call(site, "fillForm", **FORM)["values"] == {STEPS: 300}
    release(site, PRESET)
    assert call(site, "fillForm", **FORM) == {}


def press(site, **data):
    """A press in the box that says where a run starts from, or a request of the Library."""
    site.page.evaluate(
        "async (data) => (await import('/ui/js/state.js')).keepEvent('train-start-box', data)", data
    )
    choose_preset(site)


OPENED = "/view/opened-file/run%2Fa.safetensors?first=file&kind=settings"


def open_file(site, **content):
    answer(site, OPENED, **content)
    press(site, kind="settings", file="run/a.safetensors")


def test_file_of_the_library_fills_what_nobody_has_changed_since(site):
    site.hold = (OPENED,)
    content = {"preset": "opened", "dataset": "dogs", "base_model": "dreamy"}
    open_file(site, note="Opened.", values={STEPS: 77, START_FROM: "/a"}, **content)
    site.page.wait_for_timeout(100)
    release(site, OPENED)
    filled = call(site, "fillForm", **{**FORM, "dataset": "birds"})
    assert filled == {
        "note": "Opened.",
        "values": {STEPS: 77, START_FROM: "/a"},
        "preset": "opened",
        "base_model": "dreamy",
    }
    # That the preset's list says so now asks for nothing.
    choose_preset(site, "opened")
    assert call(site, "fillForm", **FORM) == {}


def test_file_that_cannot_be_opened_says_so_and_changes_nothing_else(site):
    open_file(site, note="It holds no settings.")
    site.page.evaluate("window.filling")
    assert call(site, "fillForm", **FORM) == {"note": "It holds no settings.", "values": {}}


def test_run_starts_anew_when_it_is_told_to(site):
    press(site, key="anew", start_from="/a")
    site.page.evaluate("window.filling")
    values = {**FORM["values"], START_FROM: "/a"}
    assert call(site, "fillForm", **{**FORM, "values": values})["values"] == {}
    press(site, key="anew", start_from="/a")
    assert call(site, "fillForm", **FORM)["values"] == {START_FROM: ""}


def test_run_is_named_after_its_dataset_until_somebody_names_it(site):
    def name(now, dataset):
        return call(site, "nameRun", name=now, dataset=dataset).get("name")

    assert name("lora", "cats") == "cats"
    assert name("cats", "dogs") == "dogs"
    assert name("mine", "cats") is None
    assert name("", "cats") is None  # emptied to type another one
    assert name("", "dogs") == "dogs"


def test_name_that_was_typed_before_there_was_a_dataset_stays(site):
    call(site, "shareSettings", name="lora", exposure={}, rates={}, checks={}, start_from=None)
    assert call(site, "nameRun", name="mine", dataset=None) == {}
    assert call(site, "nameRun", name="mine", dataset="cats") == {}


def test_nothing_is_put_into_the_name_while_somebody_is_in_its_box(site):
    box = "<div id='setting-name'><textarea></textarea></div><input>"
    site.page.evaluate("(html) => { document.body.innerHTML = html; }", box)
    site.page.focus("#setting-name textarea")
    assert call(site, "nameRun", name="lora", dataset="cats") == {}
    site.page.focus("input")
    assert call(site, "nameRun", name="lora", dataset="dogs") == {"name": "dogs"}


def test_values_that_fragments_show_are_shared_with_them(site):
    shared = {"exposure": {STEPS: 10}, "rates": {RANK: 4}, "checks": {RANK: 5}, "start_from": "/a"}
    call(site, "shareSettings", name="lora", **shared)
    names = list(shared)
    values = site.page.evaluate("(names) => names.map(window.state.get)", names)
    assert [*map(json.loads, values[:3]), values[3]] == list(shared.values())


SECTIONS = """
<div id="train-search"><input></div>
<div class="setting-section"><h3>Adapter</h3>
  <div class="setting" id="setting-adapter-rank">Rank</div>
  <div class="setting" id="setting-adapter-alpha">Alpha</div></div>
<div class="setting-section"><h3>Training</h3>
  <div class="setting" id="setting-train-steps">Steps</div></div>
"""


def test_search_shows_the_settings_that_have_all_its_words(site):
    site.page.evaluate("(html) => { document.body.innerHTML = html; }", SECTIONS)
    box = site.page.locator("#train-search input")
    headings, settings = site.page.locator("h3:visible"), site.page.locator(".setting:visible")
    box.press_sequentially("ADAPTER r")
    expect(settings).to_have_text(["Rank", "Alpha"])
    box.fill("adapter rank")
    expect(settings).to_have_text(["Rank"])
    expect(headings).to_have_text(["Adapter"])
    box.fill("nothing of the kind")
    expect(headings).to_have_count(0)
    box.fill("")
    expect(settings).to_have_count(3)


def show(site, component, content, **data):
    """Puts what the server would tell into a fragment of the page."""
    attributes = "".join(f' data-{name}="{html.escape(text)}"' for name, text in data.items())
    site.page.evaluate(
        "(html) => { document.body.innerHTML = html; }",
        f"<div id='{component}'><div data-view='x'{attributes}>{content}</div></div>",
    )


def choose_model(site, name, **now):
    return call(site, "chooseBaseModel", base_model=name, **{"path": "", "preset": "style", **now})


CARD = (
    "<div data-state='{}' data-name='dreamy' data-kind='sdxl' data-suggested='xl-style' "
    """data-fitting='["opened", "xl-style", "xl-character"]'></div>"""
)


def suggest(site, preset="style", state="known", name="dreamy"):
    show(site, "base-model-card", CARD.format(state))
    return call(site, "suggestPreset", base_model=name, preset=preset, rows=ROWS)


def test_preset_that_fits_is_suggested_once_for_each_chosen_base_model(site):
    choose_model(site, "dreamy")
    assert suggest(site, state="looking") == {}
    assert suggest(site, name="other") == {}  # the card of the one before is still shown
    assert suggest(site) == {"preset": "xl-style"}
    assert suggest(site) == {}
    choose_model(site, "dreamy")
    assert suggest(site) == {"preset": "xl-style"}


@pytest.mark.parametrize("preset", ["xl-character", "opened"])
def test_preset_that_fits_stays(site, preset):
    choose_model(site, "dreamy", preset=preset)
    assert suggest(site, preset) == {}


def test_preset_that_was_chosen_while_the_base_model_was_looked_at_stays(site):
    choose_model(site, "dreamy")
    assert suggest(site, "mine") == {}


def test_rows_that_a_person_has_chosen_stay_when_a_preset_is_suggested(site):
    rows = ROWS | {"goal": "object", "memory": "12", "care": "careful"}
    assert call(site, "choosePreset", rows=rows) == {"preset": "sd15-object-12gb-careful"}
    choose_model(site, "dreamy")
    show(site, "base-model-card", CARD.format("known"))
    suggested = call(site, "suggestPreset", base_model="dreamy", preset="style", rows=rows)
    assert suggested == {"preset": "sdxl-object-12gb-careful"}


def test_every_choice_of_rows_names_a_preset(site):
    for choice in (
        *list_choices().values(),
        *(Choice("starter", goal, 8) for goal in list_goals()),
    ):
        rows = {name: str(getattr(choice, name)) for name in preset_rows.ROWS}
        assert call(site, "choosePreset", rows=rows) == {"preset": choice.name}
        assert choice.name in list_presets()


def test_rows_follow_the_preset_but_not_where_they_were_chosen_since(site):
    rows = {"kind": "pony", "goal": "character", "memory": "12", "care": "balanced"}
    answer(site, PRESET, note="", values={}, rows=rows)
    choose_preset(site)
    site.page.evaluate("window.filling")
    now = {**FORM, "rows": ROWS | {"memory": "24"}}
    filled = call(site, "fillForm", **now)["rows"]
    assert filled == {"kind": "pony", "goal": "character", "care": "balanced"}


LISTS = {"lists": {"base_model": {"choices": [["dreamy", "dreamy"]], "answers": {"dreamy": "v"}}}}


@pytest.fixture
def listed(site):
    site.answers["/view/choices/-"] = ("1", json.dumps(LISTS))
    site.add("choices", '<div data-view="choices" data-json="true"></div>')
    site.page.wait_for_function("window.events.length > 0")
    return site


def test_settings_of_a_base_model_are_those_that_were_answered_for_it(listed):
    assert choose_model(listed, "dreamy") == {"family": "auto", "prediction": "v"}
    assert choose_model(listed, "other") == {"family": "auto", "prediction": "auto"}
    assert choose_model(listed, "") == {}
    listed.page.evaluate(
        """async (data) => {
          (await import('/ui/js/state.js')).keepEvent('base-model-question', data);
        }""",
        {"base_model": "other", "key": "epsilon"},
    )
    assert call(listed, "answerBaseModel", base_model="other") == {"prediction": "epsilon"}
    # The answer counts at once, also before the lists tell it.
    assert choose_model(listed, "dreamy")["prediction"] == "v"
    assert choose_model(listed, "other")["prediction"] == "epsilon"


def test_opened_settings_of_a_base_model_are_not_set_anew_when_it_is_chosen(listed):
    open_file(listed, values={}, base_model="dreamy")
    listed.page.evaluate("window.filling")
    assert call(listed, "fillForm", **FORM)["base_model"] == "dreamy"
    assert choose_model(listed, "dreamy") == {}
    assert choose_model(listed, "dreamy") == {"family": "auto", "prediction": "v"}


def test_path_that_was_added_is_taken_out_of_its_box_unless_another_is_typed(site):
    show(site, "base-model-note", "<div data-added='/a'></div>")
    assert choose_model(site, "a", path="/a")["path"] == ""
    assert "path" not in choose_model(site, "a", path="/b")


def test_download_of_this_window_is_chosen_once_when_it_has_arrived(listed):
    def arrive(own, job="download-1", started="1", state="done"):
        values = {"values": json.dumps({"job": own})} if own else {}
        data = f"data-state='{state}' data-job='{job}' data-started='{started}'"
        show(
            listed, "base-model-progress", f"<div {data} data-name='owner--model'></div>", **values
        )
        return call(listed, "chooseDownloaded")

    assert arrive("") == {}  # of another window, or of yesterday
    assert arrive("download-2") == {}
    assert arrive("download-1", state="running") == {}
    (chosen,) = arrive("download-1").values()
    assert chosen["value"] == "owner--model"
    assert chosen["choices"] == [["dreamy", "dreamy"], ["owner--model", "owner--model"]]
    assert arrive("download-1") == {}
    assert arrive("download-1", started="2")["base_model"]["value"] == "owner--model"


def test_suggestion_about_memory_goes_into_the_form_as_it_stands(site):
    data = {"settings": json.dumps({STEPS: 5, "dataset.flip": True}), "message": "<p>Set.</p>"}
    site.page.evaluate(
        "async (data) => (await import('/ui/js/state.js')).keepEvent('train-memory', data)", data
    )
    changes = call(site, "applyMemoryChange")
    assert changes == {"values": {STEPS: 5, "dataset.flip": True}, "message": "<p>Set.</p>"}
