"""What the Preview's script decides when a list arrives, however late, driven in a browser."""

import json

import pytest

from app.core.generation import SIDES
from app.preview.html import FRESH, make_comparison
from tests.app.test_fragments import Site

pytestmark = pytest.mark.browser

DATA = '<div class="fragment" data-view="preview" data-json="true"></div>'
BOXES = """<div id="preview-prompt"><textarea></textarea></div>
<div id="preview-seed"><input></div>
<div id="preview-steps"><input type="number"><input type="range"></div>
<div id="preview-negative"><textarea></textarea></div>
<div id="preview-guidance"><input type="number"></div>
<div id="preview-adapter-note"></div>"""
ROW = '<div id="preview-row-{}" class="adapter-row"></div>'
OLD, NEW, DONE = "run/step-100", "run/step-200", "run/tabby.safetensors"
MINE, YOURS = "file:mine.safetensors", "file:yours.safetensors"


class Rows:
    """The rows and boxes of the page; a function's updates are put into them as Gradio would."""

    def __init__(self, site):
        self.site, self.version = site, 0
        self.now = {
            "adapters": {str(number): None for number in range(1, 5)},
            "weights": {str(number): 1 for number in range(1, 5)},
        }
        self.choices, self.room = [], False
        html = "".join(ROW.format(number) for number in range(1, 5)) + BOXES
        site.page.evaluate("(html) => { document.body.innerHTML = html; }", html)
        for name, value in FRESH.items():
            self.type(name, str(value))

    def find(self, name):
        return self.site.page.locator(f"#preview-{name}").locator("textarea, input").first

    def type(self, name, value):
        self.find(name).fill(value)
        self.find(name).blur()

    def read(self, name):
        return self.find(name).input_value()

    def arrive(self, *adapters, last=None):
        """The list of adapters comes, and the page's script applies it."""
        self.version += 1
        choices = [(f"label of {one}", one) for one in adapters]
        last = last and {"adapters": last, **FRESH, "prompt": "last", "seed": 9}
        text = json.dumps({"adapters": choices, "last": last, "fresh": FRESH})
        self.site.answers["/view/preview/-"] = (str(self.version), text)
        if self.version == 1:
            self.site.add("preview-data", DATA)
        self.site.page.wait_for_function(f"events.length >= {self.version}")
        self.call("applyAdapters")

    def call(self, name):
        changes = self.site.page.evaluate(
            "([name, now]) => window.it.functions[name](now)", [name, self.now]
        )
        for name, change in (changes or {}).items():
            if name == "add":
                self.room = change["interactive"]
            elif name == "adapters":
                for number, update in change.items():
                    self.choices = [one[1] for one in update.get("choices", [])] or self.choices
                    self.now["adapters"][number] = update.get("value", self.now[name][number])
            else:
                self.now[name] |= change

    def choose(self, number, adapter):
        self.now["adapters"][number] = adapter
        self.call("reportAdapters")

    def suggest(self, prompt):
        """The note about the adapters comes, with a suggestion."""
        self.site.page.evaluate(
            """(text) => {
              const line = document.createElement('p');
              line.dataset.suggestion = text;
              document.querySelector('#preview-adapter-note').append(line);
            }""",
            json.dumps({"prompt": prompt, "steps": 30, "guidance": 5}),
        )

    @property
    def shown(self):
        """Adapter and weight of the rows that are shown."""
        ids = "[...document.querySelectorAll('.shown')].map((row) => row.id.slice(-1))"
        numbers = self.site.page.evaluate(ids)
        rows = [(self.now["adapters"][one], self.now["weights"][one]) for one in numbers]
        known = json.loads(self.site.page.evaluate("state.get('adapters')") or "[]")
        assert known == [adapter for adapter, _ in rows if adapter]
        return rows


@pytest.fixture
def rows(browser):
    context = browser.new_context()
    yield Rows(Site(context.new_page()))
    context.close()


def test_opened_page_shows_what_was_generated_last_but_not_over_what_was_typed(rows):
    rows.type("prompt", "typed before the answer came")
    rows.site.page.evaluate(
        "document.addEventListener('input', ({target}) => { window.heard = target.value; })"
    )
    rows.arrive(DONE, MINE, last=[(MINE, 0.5), (DONE, 1.5)])
    assert rows.shown == [(MINE, 0.5), (DONE, 1.5)]
    assert rows.read("prompt") == "typed before the answer came"
    assert rows.read("seed") == "9"
    rows.site.page.wait_for_function("window.heard === '7'")  # Gradio's widgets hear of it
    # Only the first time: somebody may have emptied the box since.
    rows.type("prompt", "")
    rows.arrive(DONE, MINE, YOURS, last=[(MINE, 2)])
    assert rows.shown == [(MINE, 0.5), (DONE, 1.5)]
    assert rows.read("prompt") == ""
    assert rows.choices == [DONE, MINE, YOURS]


def test_box_with_the_cursor_in_it_is_left_to_the_person(rows):
    rows.find("prompt").focus()
    rows.arrive(DONE, last=[(DONE, 1)])
    rows.site.page.wait_for_function("document.querySelector('#preview-seed input').value === '9'")
    assert rows.read("prompt") == ""
    rows.suggest("tabbycat")
    rows.call("applySuggestion")
    assert rows.read("prompt") == ""
    rows.find("prompt").blur()
    rows.call("applySuggestion")
    assert rows.read("prompt") == "tabbycat"


def test_first_list_leaves_a_choice_alone_that_was_made_before_it_came(rows):
    rows.now["adapters"]["1"] = YOURS  # a file was dropped, and its answer was faster
    rows.arrive(DONE, MINE, last=[(MINE, 0.5)])
    assert rows.shown == [(YOURS, 1)]


def test_page_without_adapters_shows_an_empty_row_until_there_is_one(rows):
    rows.arrive()
    assert rows.shown == [(None, 1)]
    assert not rows.room
    rows.arrive(MINE)
    assert rows.shown == [(MINE, 1)]
    assert rows.room


def test_adapter_that_vanishes_is_replaced_by_the_newest(rows):
    rows.arrive(DONE, MINE, YOURS)
    rows.choose("2", MINE)
    rows.arrive(DONE, YOURS)
    assert rows.shown == [(DONE, 1), (DONE, 1)]
    rows.choose("2", "file:just-dropped.safetensors")  # not in the list that is on its way
    rows.arrive(DONE)
    assert rows.shown == [(DONE, 1), ("file:just-dropped.safetensors", 1)]


def test_first_row_follows_its_run_to_the_finished_file(rows):
    rows.arrive(OLD)
    rows.choose("2", OLD)
    rows.arrive(NEW, OLD)
    assert rows.shown == [(NEW, 1), (OLD, 1)]
    rows.arrive(DONE, NEW, OLD)
    assert rows.shown == [(DONE, 1), (OLD, 1)]
    rows.arrive("other/x.safetensors", DONE)
    assert rows.shown[0] == (DONE, 1)


def test_row_stays_where_a_person_put_it_or_has_generated_with_it(rows):
    rows.arrive(NEW, OLD)
    rows.choose("1", OLD)
    rows.arrive("run/step-300", NEW, OLD)
    assert rows.shown == [(OLD, 1)]
    rows.choose("1", "run/step-300")
    rows.arrive("run/step-300", NEW, OLD, last=[("run/step-300", 1)])
    rows.arrive(DONE, "run/step-300", last=[("run/step-300", 1)])
    assert rows.shown == [("run/step-300", 1)]


def test_rows_are_added_up_to_four_and_removed_down_to_one(rows):
    rows.arrive(DONE, MINE)
    rows.now["weights"]["1"] = 0.5
    rows.call("addRow")
    assert rows.shown == [(DONE, 0.5), (MINE, 1)]  # the new row holds what the others do not have
    for _ in range(5):
        rows.call("addRow")
    assert [adapter for adapter, _ in rows.shown] == [DONE, MINE, DONE, DONE]
    assert not rows.room
    rows.now["weights"]["2"] = 0.7
    rows.call("removeRow1")
    assert rows.shown[0] == (MINE, 0.7)
    assert rows.room
    for number in (3, 2):
        rows.call(f"removeRow{number}")
    rows.call("removeRow1")
    assert rows.shown == [(MINE, 0.7)]
    rows.call("addRow")
    assert rows.shown == [(MINE, 0.7), (DONE, 1)]  # not the weight that was left in the row


def test_answer_that_fills_a_row_which_was_removed_meanwhile_shows_it(rows):
    rows.arrive(DONE)
    rows.choose("2", MINE)
    assert rows.shown == [(DONE, 1), (MINE, 1)]
    rows.choose("4", YOURS)
    assert rows.shown == [(DONE, 1), (MINE, 1), (YOURS, 1)]
    rows.call("removeRow2")
    assert rows.shown == [(DONE, 1), (YOURS, 1)]


def test_suggestion_is_taken_where_the_prompt_is_empty_when_it_comes(rows):
    rows.suggest("tabbycat")
    rows.type("prompt", "my own")
    rows.call("applySuggestion")
    assert (rows.read("prompt"), rows.read("steps")) == ("my own", "20")
    rows.type("prompt", "  ")
    rows.call("applySuggestion")
    assert (rows.read("prompt"), rows.read("steps")) == ("tabbycat", "30")
    rows.type("prompt", "")
    rows.site.page.evaluate("document.querySelector('#preview-adapter-note p').remove()")
    rows.call("applySuggestion")
    assert rows.read("prompt") == ""


def test_divider_is_moved_by_keys_and_stays_when_other_images_come(rows):
    site = rows.site
    for number in ("1", "2"):
        site.answers |= {f"/media/preview/{number}/{side}": ("", "") for side in SIDES}
    site.answers["/view/result/-"] = ("1", make_comparison("1"))
    site.add("result", '<div class="fragment" data-view="result"></div>')
    divider = site.page.locator("#result").get_by_role("slider")
    divider.focus()
    for _ in range(3):
        site.page.keyboard.press("ArrowRight")
    place = "document.querySelector('.fragment').style.getPropertyValue('--split')"
    assert site.page.evaluate(place) == "0.53"
    site.answers["/view/result/-"] = ("2", make_comparison("2"))
    site.page.locator('.compare[data-request="2"]').wait_for()
    assert site.page.evaluate(place) == "0.53"
    assert divider.input_value() == "53"
