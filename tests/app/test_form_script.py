"""The form of the settings in a browser: what was entered in it is not lost."""

import json

import pytest
from playwright.sync_api import expect

from app.train.form_html import make_form_lines
from tests.app.test_fragments import Site
from tests.app.test_train_script import FORM, PRESET, RANK, STEPS, answer, call, choose_preset

pytestmark = pytest.mark.browser

START_BOX = '<div class="fragment" data-view="start"></div>'
LISTS = {"lists": {"base_model": {"choices": [["starter", "starter"]]}}, "tabs": []}


@pytest.fixture
def site(browser):
    context = browser.new_context()
    yield open_page(context)
    context.close()


def open_page(context, workspace="mine"):
    site = Site(context.new_page())
    site.answers["/view/choices/-"] = ("1", json.dumps({**LISTS, "workspace": workspace}))
    site.answers["/view/start/-"] = ("1", "")
    site.add("choices", '<div data-view="choices" data-json="true"></div>')
    site.page.wait_for_function("window.events.length > 0")
    lines = f'<div id="train-form-note">{make_form_lines()}</div>'
    site.page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", lines)
    call(site, "keepForm", **FORM)  # as the page does when it is loaded
    call(site, "applyChoices")
    return site


def enter(site, now=FORM, **values):
    """A person enters values; returns what the form shows then."""
    shown = {**now, "values": now["values"] | values}
    call(site, "keepForm", **shown)
    return shown


def fill(site, now):
    site.page.evaluate("window.filling")
    return {**now, **(changes := call(site, "fillForm", **now))} | {
        "values": now["values"] | changes.get("values", {})
    }


def take_preset(site, now, preset="style", **values):
    answer(site, PRESET.replace("style", preset), note=f"<p>{preset}</p>", values=values)
    choose_preset(site, **{**now, "preset": preset})
    return fill(site, {**now, "preset": preset})


def press(site, now, key):
    """Presses a button of the line that is shown, and fills the form with what it asks for."""
    if not site.page.locator("#train-start-box").count():
        site.add("train-start-box", START_BOX)
    site.page.locator(f"[data-shown=true] [data-form={key}]").click()
    site.wait_for(lambda: site.events("select"))
    choose_preset(site, **now)
    return fill(site, now)


def shown_line(site):
    return site.page.locator("#train-form-note [data-shown=true]")


def test_preset_leaves_what_a_person_has_entered_and_says_so(site):
    now = enter(site, **{STEPS: 123})
    now = take_preset(site, now, "character", **{STEPS: 200, RANK: 16})
    assert now["values"][STEPS] == 123
    assert now["values"][RANK] == 16
    expect(shown_line(site)).to_contain_text("Your own values were kept: train.steps = 123")


def test_preset_that_replaces_nothing_of_a_person_says_nothing(site):
    now = take_preset(site, enter(site, **{STEPS: 200}), "character", **{STEPS: 200, RANK: 16})
    assert now["values"][RANK] == 16
    assert shown_line(site).count() == 0


def test_values_of_the_preset_are_had_with_a_press_and_given_back_with_another(site):
    now = enter(site, **{STEPS: 123})
    now = take_preset(site, now, "character", **{STEPS: 200, RANK: 16})
    now = press(site, now, "plain")
    assert (now["values"][STEPS], now["values"][RANK]) == (200, 16)
    now = press(site, now, "undo")
    assert (now["values"][STEPS], now["values"][RANK]) == (123, 16)
    # It is the person's value again: the next preset leaves it.
    assert take_preset(site, now, "object", **{STEPS: 300})["values"][STEPS] == 123


def test_undo_brings_back_the_preset_before_with_its_note(site):
    now = take_preset(site, enter(site), "character", **{STEPS: 200, RANK: 16})
    now = enter(site, now, **{STEPS: 123})
    now = take_preset(site, now, "object", **{STEPS: 300, RANK: 8})
    now = press(site, now, "undo")
    assert (now["preset"], now["note"]) == ("character", "<p>character</p>")
    assert (now["values"][STEPS], now["values"][RANK]) == (123, 16)
    assert shown_line(site).count() == 0
    # The preset's box changes with it, and nothing is asked for that.
    before = len(site.asked)
    choose_preset(site, **now)
    assert call(site, "fillForm", **now) == {}
    assert [one for one in site.asked[before:] if "preset" in one] == []


def test_form_is_put_back_after_a_reload(browser):
    context = browser.new_context()
    site = open_page(context)
    now = take_preset(site, enter(site), "character", **{STEPS: 200, RANK: 16})
    enter(site, now, **{STEPS: 123})
    again = open_page(context)
    again.add("train-start-box", START_BOX)
    again.wait_for(lambda: again.events("select"))
    assert again.events("select")[0][1]["key"] == "restore"
    choose_preset(again, **FORM)
    then = fill(again, FORM)
    assert (then["preset"], then["note"]) == ("character", "<p>character</p>")
    assert (then["values"][STEPS], then["values"][RANK]) == (123, 16)
    expect(shown_line(again)).to_contain_text("The form is as you left it: train.steps = 123")
    # Another workspace has a form of its own.
    other = open_page(context, workspace="other")
    other.add("train-start-box", START_BOX)
    other.page.wait_for_timeout(300)
    assert other.events("select") == []
    context.close()


def test_damaged_form_of_an_earlier_visit_is_left_alone(browser):
    context = browser.new_context()
    page = open_page(context).page
    page.evaluate("localStorage.setItem('lorasmith-form-mine', '{\"values\": 1')")
    again = open_page(context)
    again.add("train-start-box", START_BOX)
    again.page.wait_for_timeout(300)
    assert again.events("select") == []
    context.close()
