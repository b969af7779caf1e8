"""Generated images in a real browser: shown by address, compared, and kept out of other caches."""

import pytest
from playwright.sync_api import expect

from app.core.generation import find_newest_images
from app.core.workspace import Workspace
from tests.app.conftest import ROOT, draw_images, make_config, serving
from trainer.runs import create_run

pytestmark = pytest.mark.browser

STARTER = ROOT / "examples" / "starter-model"


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path / "workspace", (STARTER,))
    folder = made.datasets_path / "cats"
    draw_images(folder, 3)
    run = create_run(made.runs_path, make_config(made, folder))
    (run.path / "tabby.safetensors").write_bytes(b"x")
    return made


def test_images_are_compared_and_enter_no_cache_of_the_server(browser, workspace):
    expect.set_options(timeout=90_000)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    with serving(workspace.root, STARTER) as url:
        page.goto(f"{url}/?tab=preview")
        expect(page.locator("#preview-prompt textarea")).not_to_have_value("")
        page.locator("#preview-generate").click()
        shown = page.locator("#preview-slider .compare")
        expect(shown).to_be_visible()
        first = find_newest_images(workspace.preview)
        expect(shown).to_have_attribute("data-request", first)
        images = shown.locator("img")
        for image in images.all():
            expect(image).to_have_js_property("naturalWidth", 256)
        clip = "image => getComputedStyle(image).clipPath"
        before = images.nth(1).evaluate(clip)
        divider = page.get_by_role("slider", name="drag the divider")
        divider.fill("90")
        assert images.nth(1).evaluate(clip) != before
        box = divider.bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
        assert abs(int(divider.input_value()) - 25) <= 1

        page.locator("#preview-weight input[type=range]").click(position={"x": 20, "y": 3})
        # Letting go of the slider generates again.
        expect(shown).not_to_have_attribute("data-request", first)
        assert abs(int(divider.input_value()) - 25) <= 1  # where it was
    context.close()
    assert [one for one in asked if "/file=" in one] == []
    assert [path for path in workspace.uploads_path.rglob("*") if path.is_file()] == []
