"""The settings of the Train tab in a real browser: what fills them, and what is left alone."""

import re

import pytest
from playwright.sync_api import expect

from app.core.base_models import save_answer
from app.core.workspace import Workspace
from tests.app.conftest import ROOT, draw_images, serving

pytestmark = pytest.mark.browser
STARTER = ROOT / "examples" / "starter-model"


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path / "workspace", (STARTER,))
    made.prepare()
    draw_images(made.datasets_path / "cats", 3)
    return made


@pytest.fixture
def page(browser, workspace):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    with serving(workspace.root, STARTER) as url:
        page = context.new_page()
        page.address = f"{url}/?tab=train"
        yield page
        context.close()


def choose(page, box, name):
    page.locator(f"{box} input").click()
    page.get_by_role("option", name=name).first.click()


def test_preset_that_comes_late_leaves_what_was_typed_meanwhile(page):
    held = []
    page.route("**/view/preset/sd15*", lambda route: held.append(route))
    page.goto(page.address)
    steps = page.locator("#setting-train-steps input")
    expect(page.locator("#train-dataset")).to_contain_text("cats, 3 images")
    exposure = page.locator("#train-exposure")
    expect(exposure).to_contain_text("200 steps × 8 images")
    with page.expect_request("**/view/preset/sd15*"):
        choose(page, "#train-preset", "sd15-style-8gb")
    steps.fill("123")
    expect(exposure).to_contain_text("123 steps × 8 images")
    expect(page.locator("#train-preset-note")).to_contain_text("starter-style")
    held[0].continue_()
    expect(page.locator("#train-preset-note")).to_contain_text("sd15-style-8gb")
    expect(steps).to_have_value("123")
    # The other settings are the preset's: what depends on both shows both.
    expect(exposure).to_contain_text("123 steps × 2 images ÷ 3 images")
    page.locator("#train-rates-lid button").first.click()
    expect(page.locator("#train-rates")).to_contain_text("Learning rate over the run of 123 steps")


# Types in the first task after the page has decided upon a name, when it has read an empty box.
TYPES_AFTER_DECISION = """
addEventListener('DOMContentLoaded', () => {
  const call = lorasmith.call;
  lorasmith.call = (names, given) => {
    if (names[0] === 'nameRun' && given[0] === 'dogs') {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        const box = document.querySelector('#setting-name input, #setting-name textarea');
        window.wasNamed = box.value;
        box.value = 'a name of my own';
        box.dispatchEvent(new Event('input', {bubbles: true}));
      };
      channel.port2.postMessage(0);
    }
    return call(names, given);
  };
});
"""


def test_name_that_is_typed_while_the_page_decides_upon_one_stays(page, workspace):
    page.add_init_script(TYPES_AFTER_DECISION)
    draw_images(workspace.datasets_path / "dogs", 1)
    page.goto(f"{page.address}&dataset=cats")
    name = page.locator("#setting-name input, #setting-name textarea")
    expect(name).to_have_value("cats")
    page.get_by_role("tab", name=re.compile("1 Dataset")).click()
    choose(page, "#dataset-choice", "dogs")
    page.wait_for_function("window.wasNamed")
    page.get_by_role("tab", name=re.compile("2 Train")).click()
    expect(page.locator("#train-dataset")).to_contain_text("dogs, 1 image")
    expect(name).to_have_value("a name of my own")


def test_base_model_brings_its_answer_back_and_its_path_leaves_the_box(page, workspace, tmp_path):
    for name in ("v-pred", "dreamy"):
        (workspace.models_path / f"{name}.safetensors").write_bytes(b"x")
    save_answer(workspace, "v-pred.safetensors", "v_prediction")
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"x")
    page.goto(page.address)
    card = page.locator("#base-model-card")
    expect(card).to_contain_text("Stable Diffusion 1.x")
    page.locator("#train-settings button").first.click()
    prediction = page.locator("#setting-base-model-prediction input")
    expect(prediction).to_have_value("auto")
    choose(page, "#train-base-model", "v-pred.safetensors")
    expect(prediction).to_have_value("v_prediction")
    checked = page.locator("#base-model-question label:has(:checked)")
    expect(checked).to_have_text("v (v-prediction)")
    choose(page, "#train-base-model", "dreamy.safetensors")
    expect(prediction).to_have_value("auto")
    expect(page.locator("#base-model-question")).to_be_hidden()

    page.locator("#base-model-others button").first.click()
    box = page.locator("#base-model-path").get_by_role("textbox")
    box.fill(str(mine))
    box.press("Enter")
    expect(page.locator("#train-base-model input")).to_have_value("mine.safetensors")
    expect(page.locator("#base-model-note")).to_contain_text("mine.safetensors is in the list")
    expect(box).to_have_value("")


def test_base_model_is_measured_and_the_form_takes_what_was_measured(page, workspace):
    for name in ("dreamy", "other"):
        (workspace.models_path / f"{name}.safetensors").write_bytes(b"x")
    page.goto(page.address)
    card = page.locator("#base-model-card")
    choose(page, "#train-base-model", "dreamy.safetensors")
    expect(card).to_contain_text("Suggested preset: sd15-style-8gb")
    page.locator("#train-settings button").first.click()
    prediction = page.locator("#setting-base-model-prediction input")
    expect(prediction).to_have_value("auto")
    page.locator("#base-model-measure").click()
    expect(card).to_contain_text("dreamy.safetensors predicts a flow, by measurement")
    expect(card).to_contain_text("images of cats")  # the dataset that is chosen
    expect(prediction).to_have_value("flow")
    card.locator("summary").click()
    expect(card.get_by_role("cell", name="0.84")).to_be_visible()
    # Another base model does not have it, and the measured one brings it back.
    choose(page, "#train-base-model", "other.safetensors")
    expect(prediction).to_have_value("auto")
    expect(card).not_to_contain_text("by measurement (on")
    choose(page, "#train-base-model", "dreamy.safetensors")
    expect(prediction).to_have_value("flow")


def test_answer_about_a_header_is_asked_for_and_a_run_can_start_anew(page):
    page.goto(page.address)
    expect(page.locator("#base-model-card")).to_contain_text("Stable Diffusion 1.x")
    page.locator("#train-header button").first.click()
    page.locator("#train-header-ask").click()
    expect(page.locator("#train-header-table")).to_contain_text("modelspec.title")
    page.locator("#train-settings button").first.click()
    page.locator("#train-search").get_by_role("textbox").fill("start from")
    start_from = page.locator("#setting-adapter-start-from").get_by_role("textbox")
    expect(page.locator("#setting-adapter-rank")).to_be_hidden()
    start_from.fill("/models/tabby.safetensors")
    expect(page.locator("#train-start-from")).to_have_text(re.compile("Goes on from tabby"))
    page.locator("#train-start-anew").click()
    expect(start_from).to_have_value("")
    expect(page.locator("#train-start-from")).to_have_count(0)
