"""What the page does when the server is gone, with logs, and when the browser goes back."""

import json

import pytest
from playwright.sync_api import expect

from tests.app.test_fragments import CARD, Site
from tests.app.test_train_script import call

pytestmark = pytest.mark.browser

VIEW = "/view/card/-?first=run"
NOTE = '<div id="connection"><p>Lost at <time></time></p></div>'


@pytest.fixture
def site(browser):
    context = browser.new_context()
    yield Site(context.new_page())
    context.close()


@pytest.mark.parametrize("how", ["abort", "502"])
def test_page_says_that_the_server_is_gone_until_it_is_back(site, how):
    site.answers[VIEW] = ("1", "<p data-title='9 % – tabby'>one</p>")
    site.page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", NOTE)
    site.add("card", CARD)
    page = site.page
    expect(page).to_have_title("9 % – tabby")
    lost = page.locator("html[data-lost]")
    assert lost.count() == 0
    silent = (lambda route: route.abort()) if how == "abort" else answer_as_proxy
    page.route("**/changes*", silent)
    expect(lost).to_have_count(1)
    expect(page).to_have_title("⚠ 9 % – tabby")
    assert page.locator("#connection time").text_content()
    expect(page.locator("#card p")).to_have_text("one")  # what was so
    page.unroute("**/changes*")
    expect(lost).to_have_count(0)
    expect(page).to_have_title("9 % – tabby")


def answer_as_proxy(route):
    route.fulfill(status=502)


def make_log(lines):
    text = "\n".join(f"line {number}" for number in range(lines))
    return f"<pre class='log' style='height: 100px; overflow: auto'>{text}</pre>"


def test_log_shows_its_last_line_until_somebody_scrolls_away(site):
    site.answers[VIEW] = ("1", make_log(40))
    site.add("card", CARD)
    distance = "(log) => log.scrollHeight - log.clientHeight - log.scrollTop"
    log = site.page.locator(".log")
    assert log.evaluate(distance) < 2
    site.answers[VIEW] = ("2", make_log(60))
    expect(log).to_contain_text("line 59")
    assert log.evaluate(distance) < 2
    log.evaluate("(log) => { log.scrollTop = 7; }")
    site.page.wait_for_timeout(100)  # the browser tells of it
    site.answers[VIEW] = ("3", make_log(80))
    expect(log).to_contain_text("line 79")
    assert log.evaluate("(log) => log.scrollTop") == 7


def test_note_about_a_press_goes_with_the_state_that_it_was_about(site):
    def show(state, run="a"):
        line = f"<p data-state='{state}' data-run='{run}'></p>"
        html = f"<div id='train-progress'>{line}</div>"
        site.page.evaluate(
            """(html) => {
              document.querySelector('#train-progress')?.remove();
              document.body.insertAdjacentHTML('beforeend', html);
            }""",
            html,
        )

    def after(message):
        return call(site, "endNote", message=message)

    show("running")
    assert after("Pausing.") == {}
    assert after("Pausing.") == {}
    show("paused")
    assert after("Pausing.") == {"message": ""}
    assert after("") == {}
    assert after("Going on.") == {}
    show("paused", run="b")
    assert after("Going on.") == {"message": ""}
    show("running")
    refused = '<p role="alert">No.</p>'
    assert after(refused) == {}
    show("finished")
    assert after(refused) == {}  # it goes with the next press


LISTS = {"lists": {"dataset": {"choices": [], "first": None}}, "tabs": ["dataset", "train"]}


def test_back_and_forward_move_between_tabs(site):
    site.answers["/view/choices/-"] = ("1", json.dumps(LISTS))
    site.add("choices", '<div data-view="choices" data-json="true"></div>')
    site.page.wait_for_function("window.events.length > 0")
    assert "tabs" not in call(site, "applyChoices")
    site.set(tab="train")
    site.set(open="run-1")  # which is no step
    ticks = len(site.events("tick"))

    def find_tab():
        site.wait_for(lambda: len(site.events("tick")) > ticks)
        return call(site, "applyChoices").get("tabs", {}).get("selected")

    site.page.go_back()
    assert find_tab() == "dataset"
    assert site.page.evaluate("[state.get('tab'), state.get('open')]") == ["dataset", ""]
    ticks = len(site.events("tick"))
    site.page.go_forward()
    assert find_tab() == "train"
    assert site.page.evaluate("[state.get('tab'), state.get('open')]") == ["train", "run-1"]
    assert "tabs" not in call(site, "applyChoices")  # once
