"""What the browser makes of an offer for the caption box; every answer may come late."""

import json

import pytest

from app.ui.adoption import ADOPT_IF_UNTOUCHED, ADOPT_NAME, ADOPT_OFFER, ADOPT_SAVED, LOCK_BOXES

pytestmark = pytest.mark.browser

FIRST = {"dataset": "cats", "key": "a", "revision": "1", "caption": "a red cat", "serial": "s"}
SECOND = {"dataset": "cats", "key": "b", "revision": "2", "caption": "a blue cat"}
NOTHING = {"dataset": "", "key": "", "revision": "", "caption": ""}


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    page.set_content(
        "<div id='dataset-caption'><textarea></textarea></div>"
        "<div id='dataset-trigger'><input></div>"
    )
    yield page
    page.close()


def adopt(page, edition, now=FIRST, typed=None, *, dataset="cats", asked="", answered=""):
    """Returns what is put into the boxes, by what they are; nothing where the offer is declined."""
    offer = {"wanted": answered, "edition": edition, "picture": "<p>", "trigger": "tabby"}
    typed = now["caption"] if typed is None else typed
    given = [json.dumps(offer), asked, json.dumps(now), typed, dataset]
    put = page.evaluate(f"(given) => ({ADOPT_OFFER})(...given)", given)
    names = ("caption", "bound", "picture", "trigger", "note", "left")
    return {name: value for name, value in zip(names, put, strict=False) if value is not None}


def is_locked(page):
    return page.evaluate("document.querySelector('textarea').readOnly")


def test_another_image_of_the_dataset_takes_its_place(page):
    put = adopt(page, SECOND)
    assert put["caption"] == {"__type__": "update", "value": "a blue cat", "interactive": True}
    assert json.loads(put["bound"]) == SECOND
    assert set(put) == {"caption", "bound", "picture"}  # trigger and note stay


def test_text_that_was_typed_for_another_image_is_sent_with_that_image(page):
    put = adopt(page, SECOND, typed="half a sentence")
    assert put["caption"]["value"] == "a blue cat"
    left = json.loads(put["left"])
    assert (json.loads(left["bound"]), left["caption"]) == (FIRST, "half a sentence")


def test_text_that_was_typed_for_the_same_image_stays(page):
    newer = {**FIRST, "revision": "3", "caption": "changed elsewhere"}
    assert adopt(page, newer, typed="half a sentence") == {}
    assert adopt(page, newer)["caption"]["value"] == "changed elsewhere"
    put = adopt(page, newer, typed="changed elsewhere")  # by the same person, in another tab
    assert json.loads(put["bound"]) == newer
    assert "left" not in put


def test_another_dataset_brings_its_trigger_and_clears_the_note(page):
    put = adopt(page, {**NOTHING, "dataset": "dogs"}, dataset="dogs", typed="half a sentence")
    assert put["caption"] == {"__type__": "update", "value": "", "interactive": False}
    assert put["trigger"] == {"__type__": "update", "value": "tabby", "interactive": True}
    assert put["note"] == ""
    assert json.loads(put["left"])["caption"] == "half a sentence"
    put = adopt(page, NOTHING, dataset=None)
    assert put["trigger"]["interactive"] is False


@pytest.mark.parametrize("typed", [None, "half a sentence"])
def test_offer_for_a_dataset_that_is_not_chosen_any_more_is_declined(page, typed):
    assert adopt(page, NOTHING, typed=typed) == {}
    assert adopt(page, SECOND, typed=typed, dataset="dogs") == {}
    assert adopt(page, None, typed=typed) == {}


def test_box_is_locked_until_the_image_that_was_asked_for_last_has_come(page):
    adopt(page, SECOND, asked="c#2", answered="b#1")
    assert is_locked(page)
    adopt(page, None, asked="c#2", answered="c#2")
    assert not is_locked(page)


def test_boxes_are_locked_until_they_are_the_chosen_datasets(page):
    def locked():
        look = "['textarea', 'input'].map((one) => document.querySelector(one).readOnly)"
        return page.evaluate(look)

    page.evaluate(f"({LOCK_BOXES})()")
    assert locked() == [True, True]
    adopt(page, None, dataset="dogs")
    assert locked() == [True, True]
    adopt(page, {**NOTHING, "dataset": "dogs"}, dataset="dogs")
    assert locked() == [False, False]


def save(page, saved, now, typed):
    given = [json.dumps(saved), json.dumps(now), typed]
    return page.evaluate(f"(given) => ({ADOPT_SAVED})(...given)", given)


def test_saved_caption_belongs_to_the_edition_that_was_saved(page):
    saved = {**FIRST, "revision": "3", "caption": "new"}
    assert json.loads(save(page, saved, FIRST, "new")[0]) == saved
    assert save(page, saved, SECOND, "new") == []
    # The image was left and came back as it had been before the text was saved.
    assert save(page, saved, {**FIRST, "serial": "t"}, "a red cat") == []


def test_what_was_typed_and_left_while_a_caption_was_saved_is_saved_next(page):
    saved = {**FIRST, "revision": "3", "caption": "new"}
    bound, left = save(page, saved, FIRST, "newer")
    assert json.loads(left) == {"bound": bound, "caption": "newer"}
    page.locator("textarea").focus()
    assert save(page, saved, FIRST, "newer")[1] is None  # it will be left again
    page.locator("input").focus()


def test_what_was_found_does_not_undo_what_was_chosen_meanwhile(page):
    answer = json.dumps({"was": [None, "run-1"], "found": ["cats", "run-2"]})
    for now, put in (([None, "run-1"], ["cats", "run-2"]), (["dogs", "run-1"], [None, "run-2"])):
        given = [answer, *now]
        assert page.evaluate(f"(given) => ({ADOPT_IF_UNTOUCHED})(...given)", given) == put
    drawn = [answer, "", "run-1"]  # an empty box, which held null when it was not drawn yet
    assert page.evaluate(f"(given) => ({ADOPT_IF_UNTOUCHED})(...given)", drawn)[0] == "cats"
    assert page.evaluate(f"() => ({ADOPT_IF_UNTOUCHED})('', 'dogs', 'run-1')") == []


def test_run_is_named_after_its_dataset_until_somebody_names_it(page):
    def name(was, found, now):
        answer = json.dumps({"was": was, "found": found})
        return page.evaluate(f"(given) => ({ADOPT_NAME})(...given)", [answer, now])

    assert name("lora", "cats", "lora") == "cats"
    assert name("cats", "dogs", "cats") == "dogs"
    assert name("dogs", "cats", "mine") is None
    assert name("mine", "cats", "mine") is None  # typed before the server was asked
    assert name("mine", "cats", "") is None  # emptied to type another one
    assert name("mine", "dogs", "") == "dogs"
    page.evaluate("window.lorasmithNamed = undefined")
    assert name("lora", "lora", "mine") is None  # typed while the page was being built
    assert name("mine", "cats", "mine") is None
