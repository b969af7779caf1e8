"""The caption editor in a real browser against a real server, when things go wrong."""

import json
import time

import pytest
from PIL import Image
from playwright.sync_api import expect

from datasets_tools.disk import remove_file
from tests.app.conftest import draw_images, serving, serving_at, wait_for
from tests.ports import hold_port

pytestmark = pytest.mark.browser

BOX = "#dataset-caption textarea"
NOTE = "#dataset-caption-note"
# Longest pause between two frames while letters come in, as the page itself measures it.
MEASURE_LAG = """
() => {
  const box = document.querySelector('#dataset-caption textarea');
  window.lags = [];
  box.addEventListener('keydown', () => {
    const pressed = performance.now();
    requestAnimationFrame(() => setTimeout(() => window.lags.push(performance.now() - pressed)));
  }, true);
}
"""


@pytest.fixture
def context(browser):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(90_000)
    yield context
    context.close()


@pytest.fixture
def page(context):
    return context.new_page()


@pytest.fixture
def cats(tmp_path):
    folder = tmp_path / "workspace" / "datasets" / "cats"
    draw_images(folder, 4)
    return folder


def open_image(page, url, number=0):
    """Opens the page and an image, and waits until its caption can be edited."""
    page.goto(f"{url}/?dataset=cats")
    page.locator("#dataset-grid .tile").nth(number).click()
    expect(page.locator("#dataset-image")).to_contain_text(f"image-{number}.png")
    expect(page.locator(BOX)).to_be_editable()


def settle(page):
    """Waits until the page shows all that there is: what still comes moves the buttons below it.

    The first answer may belong to a question from before, and the second comes beside fragments
    that are loaded for the first time.
    """
    for _ in range(3):
        with page.expect_response(lambda one: "/changes?" in one.url and one.status == 304):
            pass
    page.wait_for_function("[...document.images].every((image) => image.complete)")


def read_all(folder):
    return {path.name: path.read_text() for path in sorted(folder.glob("*.txt"))}


def test_two_windows_edit_one_caption_and_both_texts_are_seen(context, tmp_path, cats):
    mine, theirs = context.new_page(), context.new_page()
    with serving(tmp_path / "workspace") as url:
        for page in (mine, theirs):
            open_image(page, url)
        mine.bring_to_front()
        mine.locator(BOX).fill("my text")
        theirs.bring_to_front()
        theirs.locator(BOX).fill("their <b>text</b>")
        theirs.keyboard.press("Control+s")
        expect(theirs.locator(NOTE)).to_contain_text("Saved: image-0.png")
        mine.bring_to_front()
        with mine.expect_response(lambda one: one.request.method == "PUT") as answered:
            mine.keyboard.press("Control+s")
        assert answered.value.status == 412
        expect(mine.locator(NOTE)).to_contain_text("Not saved: the caption of image-0.png")
        expect(mine.locator(NOTE)).to_contain_text("their <b>text</b>")
        expect(mine.locator(BOX)).to_have_value("my text")
        # Nothing is decided by going on: the other text is still there, and mine beside it.
        mine.locator("#dataset-grid .tile").nth(1).click()
        expect(mine.locator("#dataset-image")).to_contain_text("image-1.png")
        expect(mine.locator(NOTE)).to_contain_text("my text")
        expect(mine.locator(NOTE)).to_contain_text("their <b>text</b>")
        assert read_all(cats) == {"image-0.txt": "their <b>text</b>"}
        mine.get_by_role("button", name="Keep my text").click()
        expect(mine.locator(NOTE)).to_contain_text("Saved: image-0.png")
        assert read_all(cats) == {"image-0.txt": "my text"}

        # The other window had nothing of its own to lose, so it shows what is there now.
        theirs.bring_to_front()
        expect(theirs.locator(BOX)).to_have_value("my text")
        theirs.locator(BOX).fill("third text")
        (cats / "image-0.txt").write_text("fourth text")
        theirs.keyboard.press("Shift+Enter")
        theirs.get_by_role("button", name="Use the newer text").click()
        expect(theirs.locator(BOX)).to_have_value("fourth text")
        expect(theirs.locator(NOTE)).to_be_empty()
        assert read_all(cats) == {"image-0.txt": "fourth text"}


@pytest.fixture
def port():
    with hold_port() as held:
        yield held


def test_a_save_whose_answer_was_lost_is_reported_in_the_end(page, tmp_path, cats):
    def lose_answer(route):
        route.fetch()
        route.abort()

    with serving(tmp_path / "workspace") as url:
        open_image(page, url)
        page.route("**/captions/**", lose_answer)
        page.locator(BOX).fill("a cat")
        page.keyboard.press("Control+s")
        expect(page.locator(NOTE)).to_contain_text("the server does not answer")
        assert read_all(cats) == {"image-0.txt": "a cat"}
        page.unroute_all()
        expect(page.locator(NOTE)).to_contain_text("Saved: image-0.png")


# The page learns which dataset is chosen when the test lets it: `window.choose()`.
HOLD_CHOICES = """
(() => {
  let real;
  const call = (spec, given) => {
    if (spec[0] !== 'applyChoices') return real.call(spec, given);
    window.choose = () => real.call(spec, given);
    return spec[2].map(() => undefined);
  };
  Object.defineProperty(window, 'lorasmith', {
    get: () => real && {...real, call},
    set: (value) => { real = value; },
  });
})()
"""


def test_what_was_saved_before_the_dataset_was_known_stays_reported(page, tmp_path, cats):
    with serving(tmp_path / "workspace") as url:
        open_image(page, url)
        page.route("**/captions/**", lambda route: route.abort())
        page.locator(BOX).fill("a cat")
        # The draft is not sent while the page is left.
        page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('gone')); }")
        page.add_init_script(HOLD_CHOICES)
        page.reload()
        page.wait_for_function("() => window.choose")
        expect(page.locator(NOTE)).to_contain_text("the server does not answer")
        page.unroute_all()
        expect(page.locator(NOTE)).to_contain_text("Saved: image-0.png")
        page.evaluate("() => { window.choose(); }")
        expect(page.locator("#dataset-image")).to_contain_text("image-0.png")
        assert "Saved: image-0.png" in page.locator(NOTE).inner_text()
    assert read_all(cats) == {"image-0.txt": "a cat"}


def test_text_outlives_a_server_that_is_gone_and_a_reload(page, tmp_path, cats, port):
    root = tmp_path / "workspace"
    with serving_at(port, root) as url:
        open_image(page, url, 1)
        page.locator(BOX).fill("typed before")
        page.keyboard.press("Control+s")
        expect(page.locator(NOTE)).to_contain_text("Saved: image-1.png")
        page.locator(BOX).fill("typed while it went")
    page.keyboard.press("Control+s")
    expect(page.locator(NOTE)).to_contain_text("the server does not answer")
    page.locator(BOX).fill("typed while it was gone")
    # It is not back yet for captions: neither when the page is left, nor when it is opened again.
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('gone')); }")
    page.route("**/captions/**", lambda route: route.abort())
    with serving_at(port, root) as url:
        page.goto(f"{url}/?dataset=cats")
        expect(page.locator(NOTE)).to_contain_text("the server does not answer")
        assert read_all(cats) == {"image-1.txt": "typed before"}
        page.unroute_all()
        expect(page.locator(NOTE)).to_contain_text("Saved: image-1.png")
        wait_for(lambda: read_all(cats) == {"image-1.txt": "typed while it was gone"})
        page.locator("#dataset-grid .tile").nth(1).click()
        expect(page.locator(BOX)).to_have_value("typed while it was gone")
        kept = page.evaluate("Object.keys(sessionStorage)")
        assert [key for key in kept if key != "lorasmith-train"] == []  # which half of Train shows


def test_answers_that_come_late_bring_every_text_to_its_own_image(page, tmp_path, cats):
    with serving(tmp_path / "workspace") as url:
        open_image(page, url)
        page.evaluate(
            """() => {
              const ask = window.fetch;
              window.fetch = async (...given) => {
                const answer = await ask(...given);
                if (String(given[0]).startsWith('./captions/')) {
                  await new Promise((done) => { setTimeout(done, 1500); });
                }
                return answer;
              };
            }"""
        )
        tiles, box = page.locator("#dataset-grid .tile"), page.locator(BOX)
        box.fill("of image 0")
        for number in (2, 1, 3, 2):  # the first ones are not there yet when the next is chosen
            tiles.nth(number).click()
        assert not box.is_editable()
        box.fill("of image 2")  # waits: the box is locked until that image is there
        expect(page.locator("#dataset-image")).to_contain_text("image-2.png")
        tiles.nth(3).click()
        tiles.nth(0).click()
        box.fill("of image 0, again")
        tiles.nth(1).click()
        box.fill("of image 1")
        page.keyboard.press("Control+s")
        box.fill("of image 1, while it was saved")
        tiles.nth(3).click()
        box.fill("of image 3")
        tiles.nth(0).click()
        expect(box).to_have_value("of image 0, again")
        wait_for(lambda: len(read_all(cats)) == 4)
        tiles.nth(1).click()
        expect(box).to_have_value("of image 1, while it was saved")
    assert read_all(cats) == {
        "image-0.txt": "of image 0, again",
        "image-1.txt": "of image 1, while it was saved",
        "image-2.txt": "of image 2",
        "image-3.txt": "of image 3",
    }


def test_removed_image_makes_way_for_its_neighbour_and_comes_back(page, tmp_path, cats):
    with serving(tmp_path / "workspace") as url:
        open_image(page, url, 1)
        remove = page.locator("#dataset-remove")
        expect(remove).to_be_enabled()
        settle(page)
        place = remove.bounding_box()
        page.locator(BOX).fill("of some image")
        page.keyboard.press("Control+s")
        expect(page.locator(NOTE)).to_contain_text("Saved: image-1.png")
        # A button that moves between the press of the mouse and its release gets no click.
        assert remove.bounding_box() == place
        page.locator(BOX).fill("of the second image")
        remove.click()
        expect(page.locator("#dataset-note")).to_contain_text("image-1.png was removed")
        expect(page.locator("#dataset-image")).to_contain_text("image-2.png")
        expect(page.locator("#dataset-grid .tile")).to_have_count(3)
        page.locator("#dataset-undo").click()
        expect(page.locator("#dataset-image")).to_contain_text("image-1.png")
        expect(page.locator(BOX)).to_have_value("of the second image")
        expect(page.locator("#dataset-undo")).to_be_disabled()

        # A text whose image goes away while it is typed is shown, to be copied.
        page.locator(BOX).fill("for nobody")
        remove_file(cats / "image-1.png")  # which waits while the page reads it, on Windows
        expect(page.locator("#dataset-image")).to_contain_text("image-2.png")
        expect(page.locator(NOTE)).to_contain_text("not in the dataset any more")
        expect(page.locator(NOTE)).to_contain_text("for nobody")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.locator(NOTE)).to_be_empty()


def test_other_dataset_has_its_own_trigger_and_gets_nothing_of_the_first(page, tmp_path, cats):
    draw_images(tmp_path / "workspace" / "datasets" / "dogs", 2)
    with serving(tmp_path / "workspace") as url:
        open_image(page, url)
        trigger = page.locator("#dataset-trigger input")
        trigger.fill("tabbycat")
        page.locator(BOX).fill("a cat")
        page.locator("#dataset-choice input").click()
        page.get_by_role("option", name="dogs").first.click()
        expect(page.locator("#dataset-grid .tile")).to_have_count(2)
        expect(page.locator(BOX)).to_have_value("")
        expect(trigger).to_have_value("")
        trigger.fill("rex")
        trigger.press("Enter")
        expect(page.locator("#dataset-trigger-note")).to_contain_text("is kept")
        page.locator("#dataset-choice input").click()
        page.get_by_role("option", name="cats").first.click()
        expect(trigger).to_have_value("tabbycat")
        expect(page.locator(BOX)).to_have_value("a cat")
    folders = {name: cats.with_name(name) / "dataset.json" for name in ("cats", "dogs")}
    assert {name: json.loads(path.read_text())["trigger"] for name, path in folders.items()} == {
        "cats": "tabbycat", "dogs": "rex",
    }  # fmt: skip
    assert read_all(cats) == {"image-0.txt": "a cat"}


def test_five_hundred_images_load_what_is_seen_and_typing_does_not_lag(page, tmp_path):
    folder = tmp_path / "workspace" / "datasets" / "cats"
    folder.mkdir(parents=True)
    for number in range(500):
        colour = (number % 250, number // 250 * 100, 80)
        Image.new("RGB", (64, 64), colour).save(folder / f"image-{number}.png")
        (folder / f"image-{number}.txt").write_text(f"a colour, number {number}, small")
    loaded = []
    page.on("request", lambda one: "/thumbnail/" in one.url and loaded.append(one.url))
    with serving(tmp_path / "workspace") as url:
        page.goto(f"{url}/?dataset=cats")
        expect(page.locator("#dataset-grid .tile")).to_have_count(500)
        expect(page.locator(BOX)).to_be_editable()
        page.wait_for_timeout(3000)
        assert 10 <= len(set(loaded)) <= 120, len(set(loaded))
        kept = page.locator("#dataset-grid .tile").nth(7).element_handle()

        page.evaluate(MEASURE_LAG)
        page.locator(BOX).click()
        for letter in "a square of one colour, and of no other one":
            page.keyboard.press(letter)
            time.sleep(0.02)
        page.wait_for_function("window.lags.length >= 43")
        lags = sorted(page.evaluate("window.lags"))
        assert lags[len(lags) // 2] < 50, lags
        page.keyboard.press("Control+s")
        expect(page.locator("#dataset-grid .tile").nth(0)).to_contain_text("a square of one")
        # Only the tile that changed was touched: the others are the elements that they were.
        assert kept.evaluate("(tile) => tile.isConnected")
        page.locator("#dataset-grid .tile").nth(0).focus()
        page.keyboard.press("End")
        expect(page.locator("#dataset-image")).to_contain_text("image-499.png")
