"""The app in a real browser against a real server; a stand-in trains."""

import re

import numpy
import pytest
from playwright.sync_api import expect
from safetensors.numpy import save

from app.core.workspace import Workspace
from tests.app.conftest import ROOT, draw_images, make_config, serving
from trainer.runs import create_run

pytestmark = pytest.mark.browser

# Each of these has run as a script somewhere: in HTML, in a template, in a template's output.
HOSTILE = r"${alert(1)} \x3cimg src\x3dx onerror\x3dalert(2)\x3e <img src=x onerror=alert(3)> {{7}}"


@pytest.fixture
def page(browser):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(90_000)
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
        expect(tiles).to_have_count(12, timeout=90_000)
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
        expect(tiles).to_have_count(12, timeout=90_000)
        expect(tiles.nth(3)).to_contain_text("${alert(1)}")
        tiles.nth(3).click()
        expect(page.locator("#dataset-caption textarea")).to_have_value(HOSTILE)


# What a server that is busy with a training does: every event arrives `window.late` ms later.
LATE = """
const ask = window.fetch;
window.late = 0;
window.asked = 0;
window.fetch = async (...given) => {
  const asks = String(given[0]).includes('queue/join');
  const wait = asks ? window.late : 0;
  window.asked += asks;
  if (wait) await new Promise((done) => setTimeout(done, wait));
  return ask(...given);
};
"""


def test_what_is_typed_outlives_answers_that_come_late(page, tmp_path):
    files = draw_images(tmp_path / "pictures", 3)
    folder = tmp_path / "workspace" / "datasets" / "my-dataset"
    page.add_init_script(LATE)
    with serving(tmp_path / "workspace") as url:
        page.goto(url)
        box = page.locator("#dataset-caption textarea")
        page.evaluate("window.late = 1500")
        page.set_input_files("#dataset-upload input[type=file]", [*map(str, files)])
        tiles = page.locator("#dataset-grid .tile")
        expect(tiles).to_have_count(3)
        # The new dataset is being opened, and its first image is about to be shown once more.
        box.fill("typed at once")
        page.wait_for_timeout(4000)
        expect(box).to_have_value("typed at once")

        tiles.nth(0).click()
        box.fill("typed after the same image was chosen")
        page.wait_for_timeout(4000)
        expect(box).to_have_value("typed after the same image was chosen")

        tiles.nth(1).click()
        tiles.nth(2).click()  # before the second image has come
        box.fill("of the third image")  # waits: the box is locked until that image is there
        expect(page.locator("#dataset-image")).to_contain_text("image-2.png")
        page.evaluate("window.late = 0")
        tiles.nth(1).click()
        expect(page.locator("#dataset-caption-note")).to_contain_text("Saved: image-2.png")
    assert {path.name: path.read_text() for path in folder.glob("*.txt")} == {
        "image-0.txt": "typed after the same image was chosen",
        "image-2.txt": "of the third image",
    }


def test_first_answer_comes_after_images_were_uploaded_and_a_caption_begun(page, tmp_path):
    files = draw_images(tmp_path / "pictures", 3)
    page.add_init_script(LATE.replace("window.late = 0", "window.late = 6000"))
    with serving(tmp_path / "workspace") as url:
        page.goto(url)
        # All that the page asks for while it is built is under way now.
        page.wait_for_function("window.asked >= 4")
        page.evaluate("window.late = 0")
        page.set_input_files("#dataset-upload input[type=file]", [*map(str, files)])
        open_tab(page, "Train")
        name = page.locator("#setting-name input, #setting-name textarea")
        name.fill("a name of my own")
        open_tab(page, "Dataset")
        box = page.locator("#dataset-caption textarea")
        box.fill("typed at once")
        page.wait_for_timeout(7000)
        expect(box).to_have_value("typed at once")
        expect(box).to_be_editable()
        expect(page.locator("#dataset-grid .tile")).to_have_count(3)
        expect(page.locator("#dataset-image")).to_contain_text("image-0.png")
        expect(page.locator("#dataset-choice input")).to_have_value("my-dataset")
        open_tab(page, "Train")
        expect(name).to_have_value("a name of my own")
        expect(page.locator("#train-dataset")).to_contain_text("my-dataset, 3 images")


def test_written_prompt_outlives_a_suggestion_that_comes_late(page, tmp_path):
    workspace = Workspace(tmp_path / "workspace", (ROOT / "examples" / "starter-model",))
    folder = workspace.datasets_path / "cats"
    draw_images(folder, 3)
    run = create_run(workspace.runs_path, make_config(workspace, folder))
    (run.path / "tabby.safetensors").write_bytes(b"x")
    page.add_init_script(LATE)
    with serving(workspace.root, ROOT / "examples" / "starter-model") as url:
        page.goto(f"{url}/?tab=preview")
        prompt = page.locator("#preview-prompt textarea")
        expect(prompt).not_to_have_value("")  # the page suggests one for the adapter
        prompt.fill("")
        page.evaluate("window.late = 1500")
        page.locator("#preview-add").click()  # another row: a suggestion is on its way
        expect(page.locator("#preview-adapter-2")).to_be_visible()
        prompt.fill("my own")
        page.wait_for_timeout(4000)
        expect(prompt).to_have_value("my own")

        page.evaluate("window.late = 0")
        page.locator("#preview-generate").click()
        expect(page.locator("#preview-pictures img").first).to_be_visible()
        page.reload()
        expect(prompt).to_have_value("my own")  # what was drawn last
        page.add_init_script("window.late = 4000")
        page.reload()
        prompt.fill("newer")
        page.wait_for_timeout(6000)
        expect(prompt).to_have_value("newer")
        expect(page.locator("#preview-adapter-2")).to_be_visible()  # the late answer has come


def test_run_is_started_watched_and_found_in_the_library(page, tmp_path, gates):
    gates.close("step-60")
    draw_images(tmp_path / "workspace" / "datasets" / "cats", 3)
    with serving(tmp_path / "workspace", ROOT / "examples" / "starter-model") as url:
        page.goto(f"{url}/?tab=train")
        start = page.locator("#train-start")
        expect(start).to_be_visible(timeout=90_000)
        expect(page.locator("#train-dataset")).to_contain_text("cats, 3 images")
        page.locator("#setting-train-steps input").fill("0")
        start.click()
        expect(page.locator("#train-problems")).to_contain_text("train.steps")
        expect(page.locator("#setting-train-steps")).to_contain_text("✕")

        page.locator("#setting-train-steps input").fill("120")
        start.click()
        expect(page.locator("#train-progress [data-state=running]")).to_be_visible(timeout=90_000)
        expect(page).to_have_title(re.compile(r"\d+ % – cats – Lorasmith"))
        page.reload()  # the truth is in the folder, not in the page
        gates.open("step-60")
        done = page.locator("#train-progress [data-state=finished]")
        expect(done).to_be_visible(timeout=90_000)
        expect(page.locator("#train-samples .cell")).to_have_count(6, timeout=90_000)
        points = page.locator("#train-chart svg [aria-label*='step: 120']")
        expect(points.first).to_be_attached(timeout=90_000)

        open_tab(page, "Library")
        page.locator("#library-cards .card").first.click()
        expect(page.locator("#library-syntax textarea, #library-syntax input")).to_have_value(
            "<lora:cats:1>"
        )
        with page.expect_download() as waiting:
            page.locator("#library-download a").click()
        assert waiting.value.suggested_filename == "cats.safetensors"


def choose(page, box, name):
    page.locator(f"{box} input").click()
    page.get_by_role("option", name=name).first.click()


def test_base_model_is_questioned_fetched_and_made_to_fit(page, tmp_path, gates):
    """The second steps of the Train tab: nothing here is needed for the first three clicks."""
    models = tmp_path / "workspace" / "models"
    models.mkdir(parents=True)
    (models / "v-pred.safetensors").write_bytes(b"x")
    (models / "flux-dev.safetensors").write_bytes(b"x")
    (models / "dreamy-xl.safetensors").write_bytes(b"x")
    with serving(tmp_path / "workspace", ROOT / "examples" / "starter-model") as url:
        page.goto(f"{url}/?tab=train")
        card = page.locator("#base-model-card")
        expect(card).to_contain_text("Stable Diffusion 1.x", timeout=90_000)
        choose(page, "#train-base-model", "flux-dev.safetensors")
        expect(card).to_contain_text("flux-dev.safetensors is a Flux model")
        choose(page, "#train-base-model", "dreamy-xl.safetensors")
        preset = page.locator("#train-preset input")
        expect(preset).to_have_value(re.compile("^sdxl-.*style"))
        choose(page, "#train-base-model", "v-pred.safetensors")
        expect(preset).to_have_value(re.compile("^sd15-.*style"))
        answers = page.locator("#base-model-question label")
        expect(answers.first).to_contain_text("v (v-prediction)")
        answers.first.click()
        expect(card).to_contain_text("predicts v")
        expect(card).not_to_contain_text("likely answer")

        page.locator("#train-memory-ask").click()
        memory = page.locator("#train-memory")
        expect(memory).to_contain_text("It does not fit")
        memory.locator(".press").first.focus()
        page.keyboard.press("Enter")
        expect(memory).to_contain_text("It fits")

        page.locator("#base-model-others button").first.click()
        page.locator("#base-model-path").get_by_role("textbox").fill("/nowhere/x.safetensors")
        page.locator("#base-model-add").click()
        expect(page.locator("#base-model-note")).to_contain_text("nothing at /nowhere")
        hub = page.locator("#base-model-hub").get_by_role("textbox")
        progress = page.locator("#base-model-progress")
        gates.close("download")
        hub.fill("owner/other")
        page.locator("#base-model-download").click()
        expect(progress.get_by_role("progressbar")).to_be_visible(timeout=90_000)
        page.locator("#base-model-cancel").click()
        expect(progress).to_contain_text("was stopped")
        gates.open("download")
        hub.fill("owner/model")
        page.locator("#base-model-download").click()
        expect(page.locator("#train-base-model input")).to_have_value("owner--model")


def test_preset_is_composed_of_what_is_chosen(page, tmp_path):
    models = tmp_path / "workspace" / "models"
    models.mkdir(parents=True)
    (models / "pony-xl.safetensors").write_bytes(b"x")
    draw_images(tmp_path / "workspace" / "datasets" / "cats", 3)
    with serving(tmp_path / "workspace", ROOT / "examples" / "starter-model") as url:
        page.goto(f"{url}/?tab=train&dataset=cats")
        card = page.locator("#base-model-card")
        expect(card).to_contain_text("counts as the starter model", timeout=90_000)
        choose(page, "#train-base-model", "pony-xl.safetensors")
        preset = page.locator("#train-preset input")
        expect(preset).to_have_value("pony-style-8gb")
        expect(page.locator("#train-preset-kind input")).to_have_value("Pony")
        page.locator("#train-preset-goal").get_by_text("A character").click()
        choose(page, "#train-preset-memory", "12 GB")
        expect(preset).to_have_value("pony-character-12gb")
        steps = page.locator("#setting-train-steps input")
        expect(steps).to_have_value("1250")
        checks = page.locator("#train-checks")
        expect(checks).to_contain_text("1024 is above every image")
        steps.fill("50")
        expect(checks).to_contain_text("the warm-up of 62 steps is as long as the run of 50")


def test_dropped_lora_is_mixed_looked_into_and_continued(page, tmp_path):
    lora = tmp_path / "Mine & yours.safetensors"
    told = {"lorasmith.config": '{"train": {"steps": 7}}', "modelspec.title": HOSTILE}
    lora.write_bytes(save({"x.lora_down.weight": numpy.zeros((1, 1))}, told))
    run = tmp_path / "workspace" / "runs"
    draw_images(tmp_path / "workspace" / "datasets" / "cats", 3)
    with serving(tmp_path / "workspace", ROOT / "examples" / "starter-model") as url:
        page.goto(f"{url}/?tab=preview")
        lid = page.locator("#preview-elsewhere button").first
        expect(lid).to_be_visible(timeout=90_000)
        lid.click()
        page.set_input_files("#preview-drop input[type=file]", str(lora))
        adapter = page.locator("#preview-adapter input")
        expect(adapter).to_have_value("Mine-yours (file)")
        page.locator("#preview-prompt textarea").fill("a cat")
        page.locator("#preview-generate").click()
        expect(page.locator("#preview-note")).to_contain_text("Choose a base model")
        choose(page, "#preview-base-model", "starter-model")
        page.locator("#preview-add").click()
        expect(page.locator("#preview-adapter-2 input")).to_have_value("Mine-yours (file)")
        page.locator("#preview-generate").click()
        drawn = page.locator("#preview-pictures")
        expect(drawn).to_contain_text("Mine-yours 1 + Mine-yours 1", timeout=90_000)
        page.locator("#preview-remove-2").click()
        expect(page.locator("#preview-adapter-2")).to_be_hidden()

        open_tab(page, "Library")
        page.locator("#library-cards .card").first.click()
        about = page.locator("#library-about-lid button").first
        about.focus()
        page.keyboard.press("Enter")
        found = page.locator("#library-about")
        expect(found).to_contain_text("Which programs load it")
        expect(found).to_contain_text("It refuses the file: <b>names</b>.")
        page.locator("#library-continue").click()
        expect(page.locator("#train-start-from")).to_contain_text("Mine-yours.safetensors")
        expect(page.locator("#setting-train-steps input")).to_have_value("7")
        page.locator("#train-start").click()
        done = page.locator("#train-progress [data-state=finished]")
        expect(done).to_be_visible(timeout=90_000)
    (config,) = run.glob("*/config.toml")
    assert 'loras/Mine-yours.safetensors"' in config.read_text()
