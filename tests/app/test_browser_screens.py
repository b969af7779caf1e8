"""The screens of the Train tab: control and result lie beside each other, without scrolling."""

import pytest
from playwright.sync_api import expect

from tests.app.conftest import ROOT, draw_images, serving

pytestmark = pytest.mark.browser
STARTER = ROOT / "examples" / "starter-model"
WIDTH, HEIGHT = 1280, 860


@pytest.fixture
def page(browser, tmp_path):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    draw_images(tmp_path / "workspace" / "datasets" / "cats", 6)
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    with serving(tmp_path / "workspace", STARTER) as url:
        page = context.new_page()
        page.set_default_timeout(90_000)
        page.goto(f"{url}/?tab=train&dataset=cats")
        yield page
        context.close()


def box_of(page, selector):
    part = page.locator(selector).first
    expect(part).to_be_visible()
    return part.bounding_box()


def assert_on_screen(page, *selectors):
    """Each part lies wholly within the window as it was opened."""
    assert page.evaluate("window.scrollY") == 0
    for selector in selectors:
        box = box_of(page, selector)
        assert box["x"] >= 0, selector
        assert box["y"] >= 0, selector
        assert box["x"] + box["width"] <= WIDTH, selector
        assert box["y"] + box["height"] <= HEIGHT, selector


def assert_left_of(page, control, result):
    left, right = box_of(page, control), box_of(page, result)
    assert left["x"] + left["width"] <= right["x"]


def count_columns(page):
    """How many parts of the tab lie beside each other, and whether the page is too wide."""
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    left, right = (box_of(page, f"#train-settings-screen > .{side}") for side in ("left", "right"))
    return 1 if right["y"] >= left["y"] + left["height"] else 2, wide


def test_control_and_result_of_each_state_are_on_one_screen(page, gates):
    gates.close("step-60")
    learned = page.locator("#train-learned img")
    expect(learned.first).to_be_visible()
    controls = ("#train-preset-goal", "#train-base-model", "#train-preset", "#setting-name",
                "#setting-train-steps", "#train-start", "#train-memory-ask")  # fmt: skip
    assert_on_screen(page, "#run-bar", *controls, "#train-learned")
    assert_left_of(page, "#train-start", "#train-learned")
    expect(page.locator("#train-run-screen")).to_be_hidden()

    # From the empty page to a run: one click.
    page.locator("#train-start").click()
    expect(page.locator("#train-progress [data-state=running]")).to_be_visible()
    expect(page.locator("#train-newest img")).to_have_count(2)
    expect(page.locator("#train-settings-screen")).to_be_hidden()
    running = ("#train-progress", "#train-pause", "#train-stop", "#train-sample", "#train-save")
    assert_on_screen(page, *running, "#train-own-prompt", "#train-newest", "#train-samples tr",
                     "#train-chart")  # fmt: skip
    assert_left_of(page, "#train-stop", "#train-newest")

    gates.open("step-60")
    expect(page.locator("#train-finish .finish")).to_be_visible()
    finished = ("#train-finish", "#train-try", "#train-finish .download", "#train-share")
    assert_on_screen(page, *finished, "#train-another", "#train-chart", "#train-samples h3")
    assert_left_of(page, "#train-another", "#train-finish")
    # To the file: one click.
    with page.expect_download() as waiting:
        page.locator("#train-finish .download").click()
    assert waiting.value.suggested_filename == "cats.safetensors"
    # To an image of the new LoRA: one click.
    page.locator("#train-try").click()
    expect(page.locator("#preview-result img").first).to_be_visible()
    page.go_back()
    page.reload()
    expect(page.locator("#train-finish .finish")).to_be_visible()
    page.locator("#train-another").click()
    expect(page.locator("#train-start")).to_be_visible()
    page.locator("#run-bar [data-run]").click()
    expect(page.locator("#train-finish .finish")).to_be_visible()


def test_phone_has_one_column_and_four_tabs(page):
    expect(page.locator("#train-learned img").first).to_be_visible()
    columns, _ = count_columns(page)
    assert columns == 2
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("dataset", "train", "preview", "library"):
        expect(page.locator(f"#tab-{name}-button")).to_be_visible()
        box = page.locator(f"#tab-{name}-button").bounding_box()
        assert box["x"] + box["width"] <= 390, name
    columns, too_wide = count_columns(page)
    assert (columns, too_wide) == (1, 0)


def test_prompts_are_changed_and_one_of_somebodys_own_is_sampled_while_a_run_learns(page, gates):
    gates.close("step-60")
    page.locator("#train-start").click()
    expect(page.locator("#train-progress [data-state=running]")).to_be_visible()
    page.locator("#train-own-prompt").get_by_role("textbox").fill("a cat --w 500")
    page.locator("#train-sample").click()
    expect(page.locator("#train-note")).to_contain_text("multiple of 64, and is 500")
    page.locator("#train-own-prompt").get_by_role("textbox").fill("a red cat")
    page.locator("#train-sample").click()
    expect(page.locator("#train-progress")).to_contain_text("Samples will be made")
    page.locator("#train-prompts-accordion button").first.click()
    prompts = page.locator("#train-prompts textarea")
    prompts.fill("a bird\n--w 64")
    page.locator("#train-prompts-save").click()
    expect(page.locator("#train-prompts-note")).to_contain_text("has no prompt")
    prompts.fill("a bird\na boat")
    page.locator("#train-prompts-save").click()
    expect(page.locator("#train-prompts-note")).to_contain_text("from the next samples on")
    gates.open("step-60")
    expect(page.locator("#train-finish .finish")).to_be_visible()
    heads = page.locator("#train-samples th[scope=col]")
    expect(heads.filter(has_text="a red cat")).to_have_count(1)
    expect(heads.filter(has_text="a boat")).to_have_count(1)
