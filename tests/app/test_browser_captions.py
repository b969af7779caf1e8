"""Captions suggested, changed and undone in a real browser; a stand-in makes them up."""

import pytest
from playwright.sync_api import expect

from tests.app.conftest import ROOT, draw_images, serving
from tests.gates import Gates

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)}"


@pytest.fixture
def page(browser):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.alerts = []
    page.on("dialog", lambda dialog: (page.alerts.append(dialog.message), dialog.accept()))
    yield page
    assert page.alerts == []
    context.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A workspace with a dataset for each test."""
    root = tmp_path_factory.mktemp("captions") / "workspace"
    (root / "datasets" / "empty").mkdir(parents=True)
    draw_images(root / "datasets" / "cats", 3)
    (root / "datasets" / "cats" / "image-1.txt").write_text(HOSTILE)
    draw_images(root / "datasets" / "four-cats", 4)
    return root


@pytest.fixture(scope="module")
def url(root):
    """One server for all tests here: starting it takes longer than most of what they look at."""
    with serving(root, ROOT / "examples" / "starter-model") as address:
        yield address


@pytest.fixture
def gates(root):
    """The gates of the server's commands, open again after the test."""
    gates = Gates(root.parent / "gates")
    yield gates
    gates.open_all()


def read_all(folder):
    return [path.read_text() for path in sorted(folder.glob("*.txt"))]


def write(page, name, text):
    page.locator(f"#captions-{name}").get_by_role("textbox").fill(text)


def test_images_are_captioned_and_trained_on_in_three_clicks(page, url, root, tmp_path):
    """The third is the one on the box for images; choosing them there is the browser's."""
    clicks = []
    page.expose_function("note_click", lambda text: clicks.append(text.strip()))
    page.add_init_script(
        "addEventListener('click', (one) => one.isTrusted && note_click(one.target.innerText))"
    )
    files = draw_images(tmp_path / "pictures", 3)
    page.goto(f"{url}/?dataset=empty")
    expect(page.locator("#dataset-grid")).to_contain_text("No images yet")
    expect(page.locator("#captions-suggest")).to_be_disabled()
    page.set_input_files("#dataset-upload input[type=file]", [*map(str, files)])
    page.locator("#captions-suggest").click()
    expect(page.locator("#captions-progress")).to_contain_text("3 captions suggested.")
    expect(page.locator("#dataset-grid .tile").nth(1)).to_contain_text("a blue cat")
    page.locator("#dataset-train-start").click()
    expect(page.locator("#train-progress [data-state]")).to_be_visible()
    expect(page.locator("#train-note")).to_contain_text("empty")
    (config,) = (root / "runs").glob("*/config.toml")
    assert "datasets/empty" in config.read_text()
    assert clicks == ["Suggest captions", "Train with these"]


def test_captions_are_suggested_edited_and_undone_twice(page, url, root):
    page.goto(f"{url}/?dataset=cats")
    box = page.locator("#dataset-caption textarea")
    tiles = page.locator("#dataset-grid .tile")
    expect(tiles.nth(0)).to_contain_text("no caption")
    page.get_by_label("Instead of what is there").check()
    page.locator("#captions-suggest").click()
    done = page.locator("#captions-progress [data-state=done]")
    expect(done).to_contain_text("3 captions suggested.")
    expect(tiles.nth(1)).to_contain_text("a blue cat")
    expect(box).to_have_value("a red cat")

    page.locator("#captions-all button").first.click()
    write(page, "old", "cat")
    write(page, "new", "dog")
    page.locator("#captions-replace").click()
    told = page.locator("#captions-told")
    expect(told).to_contain_text("3 captions were changed")
    expect(box).to_have_value("a red dog")
    expect(tiles.nth(2)).to_contain_text("a green dog")
    expect(page.locator("#captions-tags")).to_contain_text("a blue dog 1")
    expect(done).to_be_hidden()  # that is no longer what was done last

    undo = page.locator("#captions-undo")
    expect(undo).to_have_text("Undo: Replaced “cat” by “dog”")
    undo.click()
    expect(box).to_have_value("a red cat")
    expect(undo).to_have_text("Undo: Suggested by starter")
    undo.click()
    expect(box).to_have_value("")
    expect(tiles.nth(0)).to_contain_text("no caption")
    expect(tiles.nth(1)).to_contain_text(HOSTILE)
    expect(undo).to_be_disabled()
    assert read_all(root / "datasets" / "cats") == [HOSTILE]

    page.locator("#captions-tags .chip").first.click()
    expect(page.locator("#captions-tag").get_by_role("textbox")).to_have_value(HOSTILE)
    page.locator("#captions-remove").click()
    expect(tiles.nth(1)).to_contain_text("no caption")
    write(page, "old", "")
    page.locator("#captions-replace").click()
    expect(told).to_contain_text("no words to look for")


def test_typed_text_outlives_suggestions_and_what_is_saved_stays(page, url, root, gates):
    page.goto(f"{url}/?dataset=four-cats")
    box = page.locator("#dataset-caption textarea")
    tiles = page.locator("#dataset-grid .tile")
    expect(page.locator("#dataset-image")).to_contain_text("image-0.png")
    gates.close("caption-1")
    page.locator("#captions-suggest").click()
    box.fill("typed while it was captioned")
    gates.open("caption-1")
    expect(page.locator("#captions-progress")).to_contain_text("4 captions suggested.")
    expect(tiles.nth(0)).to_contain_text("a red cat")
    expect(box).to_have_value("typed while it was captioned")
    tiles.nth(3).click()  # leaving the box saves
    expect(page.locator("#dataset-caption-note")).to_contain_text("Saved: image-0.png")
    expect(box).to_have_value("a red cat")  # of the fourth image

    page.locator("#captions-progress .press").click()
    expect(page.locator("#captions-note")).to_contain_text("left alone: image-0.png")
    expect(box).to_have_value("")
    assert read_all(root / "datasets" / "four-cats") == ["typed while it was captioned"]

    page.get_by_label("Behind what is there").check()
    gates.close("caption-3")
    page.locator("#captions-suggest").click()
    expect(page.locator("#captions-progress")).to_contain_text("2 of 4 images")
    page.locator("#captions-cancel").click()
    stopped = page.locator("#captions-progress [data-state=stopped]")
    expect(stopped).to_contain_text("Cancelled. 2 captions were suggested")
    expect(page.locator("#captions-cancel")).to_be_hidden()
