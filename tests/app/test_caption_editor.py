"""What the caption editor's script makes of answers, in whatever order they come; no server."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

import app.ui
from app.dataset.html import make_editor, make_trigger

pytestmark = pytest.mark.browser

SCRIPTS = Path(app.ui.__file__).parent / "js"
PAGE = "http://page.test"
BOX, NOTE = "#dataset-caption textarea", "#dataset-caption-note"
CATS = {"a": "a red cat", "b": "a blue cat"}


class Site:
    """A page with the editor and a grid, whose answers the test holds back and lets go."""

    def __init__(self, page):
        self.page, self.held, self.saved = page, [], []
        self.hold = False
        self.texts = {
            f"/captions/cats/{key}": {"text": text, "revision": f"{key}-1"}
            for key, text in CATS.items()
        }
        self.texts |= {
            "/captions/dogs/z": {"text": "", "revision": "z-1"},
            "/trigger/cats": {"text": "tabby", "revision": "1"},
            "/trigger/dogs": {"text": "rex", "revision": "1"},
        }
        self.refusal = None
        page.route(f"{PAGE}/**", self.answer)
        page.goto(PAGE)
        page.evaluate(
            """async ([editor, trigger]) => {
              const add = (id, html) => {
                const block = document.createElement('div');
                block.id = id;
                block.innerHTML = `<div>${html}</div>`;
                document.body.append(block);
                return block.firstChild;
              };
              add('dataset-grid', '');
              const page = await import('/ui/js/page.js');
              window.state = await import('/ui/js/state.js');
              window.captions = await import('/ui/js/captions.js');
              page.mount(add('editor', editor), () => {});
              page.mount(add('trigger', trigger), () => {});
            }""",
            [make_editor(), make_trigger()],
        )

    def answer(self, route):
        path = route.request.url.removeprefix(PAGE)
        if path.startswith("/ui/js/"):
            text = (SCRIPTS / path.rpartition("/")[2]).read_text("utf-8")
            route.fulfill(body=text, content_type="text/javascript")
        elif path in self.texts or path.startswith(("/captions", "/trigger")):
            if self.hold:
                self.held.append(route)
            else:
                self.settle(route)
        else:
            route.fulfill(body="<!doctype html><body></body>", content_type="text/html")

    def settle(self, route):
        """Answers as the server does, with what there is by now."""
        path = route.request.url.removeprefix(PAGE)
        now = self.texts.get(path)
        if route.request.method == "GET":
            if now is None:
                route.fulfill(status=404, json={"message": "gone"})
            elif route.request.headers.get("if-none-match") == f'"{now["revision"]}"':
                route.fulfill(status=304)
            else:
                shown = {"name": f"{path[-1]}.png", "image": f"/{path[-1]}", "facts": path[-1]}
                route.fulfill(json={**now, **shown})
            return
        text = json.loads(route.request.post_data)["text"]
        revision = route.request.headers["if-match"].strip('"')
        self.saved.append((path, text, revision))
        if now is None:
            route.fulfill(status=404, json={"message": "There is no such image."})
        elif self.refusal:
            route.fulfill(status=422, json={"message": self.refusal})
        elif revision != now["revision"]:
            route.fulfill(status=412, json={**now, "message": "Changed elsewhere."})
        else:
            self.change(path, text)
            route.fulfill(json={**self.texts[path], "message": f"Saved: {path[-1]}"})

    def change(self, path, text):
        """Somebody else writes a text."""
        stem, _, number = self.texts[path]["revision"].rpartition("-")
        self.texts[path] = {"text": text, "revision": f"{stem}-{int(number) + 1}"}

    def show_grid(self, dataset="cats", keys=("a", "b")):
        """The grid has come, or come again."""
        tiles = "".join(f'<button data-key="{key}"></button>' for key in keys)
        self.page.evaluate(
            """([dataset, tiles]) => {
              document.querySelector('#dataset-grid').innerHTML =
                `<div data-of="${dataset}">${tiles}</div>`;
              window.captions.noticeImages();
            }""",
            [dataset, tiles],
        )

    def choose(self, **values):
        self.page.evaluate("(values) => window.state.set(values)", values)

    def wait_for_held(self, count):
        for _ in range(200):
            if len(self.held) >= count:
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(self.held)

    def release(self, place=0):
        self.settle(self.held.pop(place))

    @property
    def locked(self):
        """Whether the caption and the trigger can be typed into."""
        look = "(box) => box.readOnly || box.disabled"
        return [self.page.locator(one).evaluate(look) for one in (BOX, "#dataset-trigger input")]


@pytest.fixture
def site(browser):
    expect.set_options(timeout=20_000)
    page = browser.new_page()
    yield Site(page)
    page.close()


@pytest.fixture
def opened(site):
    """The first image of the cats is in the box."""
    site.choose(dataset="cats")
    site.show_grid()
    expect(site.page.locator(BOX)).to_have_value("a red cat")
    expect(site.page.locator("#dataset-trigger input")).to_have_value("tabby")
    return site


def test_nothing_can_be_typed_before_an_image_is_there(site):
    assert site.locked == [True, True]
    site.choose(dataset="cats")
    site.show_grid("cats", [])
    expect(site.page.locator("#dataset-trigger input")).to_be_editable()
    assert site.locked == [True, False]
    expect(site.page.locator("#dataset-image")).to_contain_text("Choose an image")


def test_box_is_locked_until_the_image_that_was_chosen_last_has_come(opened):
    opened.hold = True
    opened.choose(image="b")
    assert opened.locked == [True, False]
    opened.choose(image="a")
    opened.choose(image="b")
    opened.wait_for_held(3)
    opened.release(2)
    expect(opened.page.locator(BOX)).to_have_value("a blue cat")
    assert opened.locked == [False, False]
    opened.page.locator(BOX).fill("typed")
    opened.release(1)  # of the first image, which was left again
    opened.release(0)
    opened.page.wait_for_timeout(100)
    expect(opened.page.locator(BOX)).to_have_value("typed")


def test_boxes_are_locked_until_they_are_the_chosen_datasets(opened):
    opened.page.locator(BOX).fill("half a sentence")
    opened.page.locator("#dataset-trigger input").fill("half a word")
    opened.choose(dataset="dogs")
    opened.show_grid("cats")  # of the dataset that was left
    assert opened.locked[0]
    opened.show_grid("dogs", ["z"])
    expect(opened.page.locator(BOX)).to_have_value("")
    expect(opened.page.locator("#dataset-trigger input")).to_have_value("rex")
    assert opened.locked == [False, False]
    assert sorted(path for path, *_ in opened.saved) == ["/captions/cats/a", "/trigger/cats"]
    assert opened.texts["/captions/cats/a"]["text"] == "half a sentence"
    assert opened.texts["/captions/dogs/z"]["text"] == ""


def test_newer_text_comes_into_an_untouched_box_and_not_into_a_typed_one(opened):
    opened.change("/captions/cats/a", "changed elsewhere")
    opened.show_grid()
    expect(opened.page.locator(BOX)).to_have_value("changed elsewhere")
    opened.page.locator(BOX).fill("half a sentence")
    opened.change("/captions/cats/a", "changed again")
    opened.show_grid()
    opened.page.wait_for_timeout(200)
    expect(opened.page.locator(BOX)).to_have_value("half a sentence")
    opened.page.locator(BOX).fill("changed elsewhere")  # as it was read: nothing of one's own
    opened.show_grid()
    expect(opened.page.locator(BOX)).to_have_value("changed again")
    assert opened.saved == []


def test_text_that_was_typed_while_one_was_saved_is_saved_next_with_the_new_revision(opened):
    box = opened.page.locator(BOX)
    opened.hold = True
    box.fill("new")
    box.press("Control+s")
    opened.wait_for_held(1)
    box.fill("newer")
    box.blur()
    opened.choose(image="b")
    opened.hold = False
    while opened.held:
        opened.release()
    expect(box).to_have_value("a blue cat")
    opened.page.wait_for_timeout(200)
    assert [(text, revision) for _, text, revision in opened.saved] == [
        ("new", "a-1"), ("newer", "a-2"),
    ]  # fmt: skip
    assert opened.texts["/captions/cats/a"]["text"] == "newer"
    assert opened.texts["/captions/cats/b"]["text"] == "a blue cat"


def test_text_that_was_read_before_one_was_saved_does_not_come_back(opened):
    """The old text is on its way while the new one is saved, and arrives after it."""
    box = opened.page.locator(BOX)
    opened.hold = True
    box.fill("new")
    opened.choose(image="b")
    opened.choose(image="a")
    opened.wait_for_held(3)
    save = next(one for one in opened.held if one.request.method == "PUT")
    *_, late = [one for one in opened.held if one.request.url.endswith("/a") and one is not save]
    opened.settle(save)
    opened.page.wait_for_timeout(100)
    old = {"text": "a red cat", "revision": "a-1", "name": "a.png", "image": "/a", "facts": "a"}
    opened.hold = False
    late.fulfill(json=old)
    expect(box).to_be_editable()
    expect(box).to_have_value("new")


def test_text_that_cannot_be_written_stays_and_is_sent_when_it_changed(opened):
    box = opened.page.locator(BOX)
    opened.refusal = "It is too long."
    box.fill("long")
    box.press("Shift+Enter")
    expect(opened.page.locator(NOTE)).to_contain_text("It is too long.")
    expect(box).to_have_value("long")
    opened.refusal = None
    box.fill("short")
    box.blur()
    expect(opened.page.locator(NOTE)).to_have_text("Saved: a")


def test_text_without_an_image_is_shown_to_be_copied(opened):
    box = opened.page.locator(BOX)
    box.fill("for nobody")
    del opened.texts["/captions/cats/a"]
    opened.show_grid("cats", ["b"])
    expect(box).to_have_value("a blue cat")
    expect(opened.page.locator(NOTE)).to_contain_text("There is no such image.")
    expect(opened.page.locator(NOTE)).to_contain_text("for nobody")
    opened.page.get_by_role("button", name="Dismiss").click()
    expect(opened.page.locator(NOTE)).to_be_empty()


def test_text_is_saved_when_its_image_comes_back(opened):
    """The image was removed before the text arrived that was typed last."""
    kept = opened.texts.pop("/captions/cats/a")
    opened.page.locator(BOX).fill("the last word")
    opened.show_grid("cats", ["b"])
    expect(opened.page.locator(NOTE)).to_contain_text("the last word")
    opened.texts["/captions/cats/a"] = kept
    opened.show_grid()
    expect(opened.page.locator(NOTE)).to_have_text("Saved: a")
    assert opened.texts["/captions/cats/a"]["text"] == "the last word"


def test_conflict_of_a_trigger_is_decided_at_the_trigger(opened):
    opened.texts["/trigger/cats"] = {"text": "theirs", "revision": "2"}
    box = opened.page.locator("#dataset-trigger input")
    box.fill("mine")
    box.press("Enter")
    note = opened.page.locator("#dataset-trigger-note")
    expect(note).to_contain_text("theirs")
    expect(opened.page.locator(NOTE)).to_be_empty()
    note.get_by_role("button", name="Use the newer text").click()
    expect(box).to_have_value("theirs")
    assert opened.texts["/trigger/cats"]["text"] == "theirs"


def test_what_texts_say_is_text(opened):
    hostile = "<img src=x onerror=alert(1)> ${alert(2)}"
    opened.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    opened.page.locator(BOX).fill("mine")
    opened.change("/captions/cats/a", hostile)
    opened.page.locator(BOX).blur()
    expect(opened.page.locator(NOTE)).to_contain_text(hostile)
    assert opened.page.locator(f"{NOTE} img").count() == 0


def test_image_that_came_back_is_chosen_unless_another_one_was_meanwhile(opened):
    def undo(image):
        opened.show_grid("cats", ["a"])
        opened.page.evaluate(
            """() => {
              const button = document.createElement('button');
              button.id = 'dataset-undo';
              document.body.append(button);
              button.click();
              button.remove();
            }"""
        )
        opened.show_grid("cats", ["a"])  # it is not back yet
        if image:
            opened.choose(image=image)
        opened.show_grid("cats", ["a", "b", "c"])
        return opened.page.evaluate("window.state.get('image')")

    assert undo("") == "b"
    opened.choose(image="a")
    opened.show_grid("cats", ["a", "c"])
    assert undo("c") == "c"
