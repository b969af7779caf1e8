"""The app in a real browser against a real server; a stand-in trains."""

import re

import pytest
from playwright.sync_api import expect

from tests.app.conftest import ROOT, draw_images, serving

pytestmark = pytest.mark.browser

# Each of these has run as a script somewhere: in HTML, in a template, in a template's output.
HOSTILE = r"${alert(1)} \x3cimg src\x3dx onerror\x3dalert(2)\x3e <img src=x onerror=alert(3)> {{7}}"


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.alerts, page.elsewhere = [], []
    page.on("dialog", lambda dialog: (page.alerts.append(dialog.message), dialog.accept()))
    page.on("request", lambda request: note_foreign(page, request.url))
    yield page
    assert page.alerts == []
    assert page.elsewhere == []
    context.close()


def note_foreign(page, url):
    if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
        page.elsewhere.append(url)


def open_tab(page, name):
    page.get_by_role("tab", name=re.compile(rf"\d {name}")).click()


def test_images_are_uploaded_and_an_edited_caption_survives_a_reload(page, tmp_path):
    files = draw_images(tmp_path / "pictures", 12)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with serving(tmp_path / "workspace") as url:
        page.goto(url)
        page.set_input_files("#dataset-upload input[type=file]", [*map(str, files), str(broken)])
        tiles = page.locator("#dataset-grid .tile")
        expect(tiles).to_have_count(12, timeout=30_000)
        expect(page.locator("#dataset-note")).to_contain_text("broken.png")

        tiles.nth(3).click()
        expect(page.locator("#dataset-image")).to_contain_text("image-3.png")
        page.fill("#dataset-caption textarea", HOSTILE)
        tiles.nth(5).click()  # leaving the box saves
        expect(page.locator("#dataset-caption-note")).to_contain_text("Saved: image-3.png")
        expect(page.locator("#dataset-image")).to_contain_text("image-5.png")
        expect(page.locator("#dataset-caption textarea")).to_have_value("")
        saved = tmp_path / "workspace" / "datasets" / "my-dataset" / "image-3.txt"
        assert saved.read_text() == HOSTILE
        assert not saved.with_name("image-5.txt").exists()

        page.keyboard.press("ArrowRight")
        expect(page.locator("#dataset-image")).to_contain_text("image-6.png")
        page.reload()
        expect(tiles).to_have_count(12, timeout=30_000)
        expect(tiles.nth(3)).to_contain_text("${alert(1)}")
        tiles.nth(3).click()
        expect(page.locator("#dataset-caption textarea")).to_have_value(HOSTILE)


def test_run_is_started_watched_and_found_in_the_library(page, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS_PER_STEP", "0.1")
    draw_images(tmp_path / "workspace" / "datasets" / "cats", 3)
    with serving(tmp_path / "workspace", ROOT / "examples" / "starter-model") as url:
        page.goto(f"{url}/?tab=train")
        start = page.locator("#train-start")
        expect(start).to_be_visible(timeout=30_000)
        expect(page.locator("#train-dataset")).to_contain_text("cats, 3 images")
        page.locator("#setting-train-steps input").fill("0")
        start.click()
        expect(page.locator("#train-problems")).to_contain_text("train.steps")
        expect(page.locator("#setting-train-steps")).to_contain_text("✕")

        page.locator("#setting-train-steps input").fill("120")
        start.click()
        expect(page.locator("#train-progress [data-state=running]")).to_be_visible(timeout=30_000)
        expect(page).to_have_title(re.compile(r"\d+ % – cats – Lorasmith"))
        page.reload()  # the truth is in the folder, not in the page
        done = page.locator("#train-progress [data-state=finished]")
        expect(done).to_be_visible(timeout=40_000)
        expect(page.locator("#train-samples .cell")).to_have_count(4, timeout=15_000)
        points = page.locator("#train-chart svg [aria-label*='step: 120']")
        expect(points.first).to_be_attached(timeout=15_000)

        open_tab(page, "Library")
        page.locator("#library-cards .card").first.click()
        expect(page.locator("#library-syntax textarea, #library-syntax input")).to_have_value(
            "<lora:cats:1>"
        )
        with page.expect_download() as waiting:
            page.locator("#library-download a").click()
        assert waiting.value.suggested_filename == "cats.safetensors"
