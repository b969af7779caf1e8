"""The main job by mouse: images in, a caption, training, two weights, the file out."""

import hashlib
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.e2e.browse import ROOT, open_app, open_tab, stop_workers
from trainer.formats.header import read_header
from trainer.runs import RunFolder, read_events, read_status, request

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]
IMAGES = sorted((ROOT / "examples" / "openmoji-style" / "images").glob("*.png"))[:12]


@pytest.fixture
def workspace(tmp_path):
    yield tmp_path / "workspace"
    stop_workers(tmp_path / "workspace")


def suggest_captions(page, workspace):
    """The captioner that comes along names what it knows, and writes nothing where it does not."""
    page.locator("#captions-suggest").click()
    progress = page.locator("#captions-progress")
    expect(progress).to_contain_text("captions suggested")
    written = {path.stem: path.read_text("utf-8") for path in workspace.glob("datasets/*/*.txt")}
    assert written["06-strawberry"] == "a strawberry"
    assert 6 <= len(written) < len(IMAGES)
    bear = page.locator("#dataset-grid .tile", has_text="04-bear.png")
    expect(bear).to_contain_text(written["04-bear"])


def upload_and_caption(page, workspace):
    page.set_input_files("#dataset-upload input[type=file]", [str(path) for path in IMAGES])
    tiles = page.locator("#dataset-grid .tile")
    expect(tiles).to_have_count(12)
    suggest_captions(page, workspace)
    tiles.nth(0).click()
    expect(page.locator("#dataset-image")).to_contain_text(IMAGES[0].name)
    page.fill("#dataset-caption textarea", "a lion face, smiling")
    tiles.nth(1).click()
    expect(page.locator("#dataset-caption-note")).to_contain_text("Saved")
    found = list((workspace / "datasets").glob(f"*/{IMAGES[0].stem}.txt"))
    assert [path.read_text(encoding="utf-8").strip() for path in found] == ["a lion face, smiling"]


def start_training(page, workspace):
    """Thirty short steps, and the page is opened anew while they are under way."""
    open_tab(page, re.compile("Train"))
    page.locator("#setting-train-steps input").fill("30")
    page.locator("#train-settings button").first.click()
    page.locator("#setting-train-batch-size input").fill("2")
    page.locator("#setting-samples-inference-steps input").fill("4")
    page.locator("#train-start").click()
    run = pause_when_started(page, workspace)
    paused = page.locator("#train-progress [data-state=paused]")
    expect(paused).to_be_visible()
    page.reload()
    expect(paused).to_be_visible()
    page.locator("#train-resume").click()
    expect(page.locator("#train-progress [data-state=finished]")).to_be_visible(timeout=400_000)
    return run


def pause_when_started(page, workspace):
    """Asks for the pause before the first step is done, so that the page comes in time for it."""
    events = None
    while not events or not any(one["event"] == "started" for one in read_events(events)):
        page.wait_for_timeout(20)
        events = next((workspace / "runs").glob("*/events.jsonl"), None)
    request(events.parent, "pause")
    return RunFolder(events.parent)


def ask_before_start(page):
    """What the base model is, whether it fits, what the file would say: real commands answer."""
    open_tab(page, re.compile("Train"))
    expect(page.locator("#base-model-card")).to_contain_text("Stable Diffusion 1.x")
    page.locator("#train-memory-ask").click()
    page.locator("#train-header button").first.click()
    page.locator("#train-header-ask").click()
    expect(page.locator("#train-memory")).to_contain_text("Training step")
    header = page.locator("#train-header-table")
    expect(header).to_contain_text("modelspec.architecture")
    expect(header).to_contain_text("a lion face (1), smiling (1)")


def mix_two(page, workspace, file):
    """The exported file once more, dropped in: half and half is what the whole alone is."""
    page.locator("#preview-elsewhere button").first.click()
    copy = workspace / "copy.safetensors"
    copy.write_bytes(file.read_bytes())
    page.locator("#preview-add").click()
    expect(page.locator("#preview-adapter-2")).to_be_visible()
    page.set_input_files("#preview-drop input[type=file]", str(copy))
    expect(page.locator("#preview-adapter-2 input")).to_have_value("copy (file)")
    second = page.locator("#preview-weight-2 input[type=number]")
    second.fill("0.75")
    second.press("Tab")
    return draw_at(page, workspace, 0.75)[1]


def look_into_and_go_on(page, workspace):
    page.locator("#library-about-lid button").first.click()
    about = page.locator("#library-about")
    expect(about).to_contain_text("129 layers, LoRA, rank 16")
    expect(about).to_contain_text("Nothing to complain of")
    page.locator("#library-continue").click()
    expect(page.locator("#train-start-from")).to_contain_text(".safetensors")
    steps = page.locator("#setting-train-steps input")
    expect(steps).to_have_value("30")
    steps.fill("2")
    page.locator("#train-start").click()
    for _ in range(1800):
        runs = [path for path in (workspace / "runs").iterdir() if path.is_dir()]
        if len(runs) == 2 and all(read_status(path).state == "finished" for path in runs):
            break
        page.wait_for_timeout(200)
    assert sorted(read_status(path).state for path in runs) == ["finished", "finished"]


def draw_at(page, workspace, weight):
    """Sets the weight, draws, and returns the pictures (without, with)."""
    results = workspace / "preview" / "results"
    before = set(results.glob("*/result.json")) if results.is_dir() else set()
    box = page.locator("#preview-weight input[type=number]")
    box.fill(str(weight))
    box.press("Tab")
    page.locator("#preview-generate").click()
    for _ in range(3000):
        done = [p for p in results.glob("*/result.json") if p not in before]
        drawn = [p.parent for p in done if (p.parent / "with.png").is_file()]
        drawn = [p for p in drawn if _weight_of(p / "with.png") == weight]
        if drawn:
            break
        page.wait_for_timeout(100)
    expect(page.locator("#preview-status")).to_contain_text("loaded once")
    folder = max(drawn)
    pair = (folder / "without.png", folder / "with.png")
    return tuple(np.asarray(Image.open(path)).astype(int) for path in pair)


def _weight_of(path):
    with Image.open(path) as image:
        return float(re.search(r'"weight": ([\d.]+)', image.info["lorasmith"])[1])


def test_from_images_to_a_file_by_mouse(browser, workspace):
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(240_000)
    expect.set_options(timeout=240_000)
    with open_app(workspace) as url:
        page.goto(url)
        upload_and_caption(page, workspace)
        ask_before_start(page)
        run = start_training(page, workspace)
        assert read_status(run.path).step == 30

        open_tab(page, re.compile("Preview"))
        expect(page.locator("#preview-adapter input")).not_to_have_value("")
        page.locator("#preview-prompt textarea").fill("a panda")
        page.locator("#preview-steps input[type=number]").fill("8")
        plain, half = draw_at(page, workspace, 0.5)
        again, full = draw_at(page, workspace, 1.5)
        assert np.array_equal(plain, again)
        assert np.abs(half - plain).mean() > 0.5
        assert np.abs(full - plain).mean() > np.abs(half - plain).mean()
        mixed = mix_two(page, workspace, run.list_exports()[0])
        assert np.abs(mixed - full).mean() < 0.2 * np.abs(full - plain).mean()

        open_tab(page, re.compile("Library"))
        page.locator("#library-cards .card").first.click()
        with page.expect_download() as waiting:
            page.locator("#library-download a").click()
        file = workspace / waiting.value.suggested_filename
        waiting.value.save_as(file)
        look_into_and_go_on(page, workspace)
    assert read_header(file).metadata["ss_output_name"]
    exported = next(e for e in read_events(run.events_path) if e["event"] == "exported")
    original = run.path / exported["file"]
    assert (
        hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(original.read_bytes()).digest()
    )
    assert exported["modules"] == 153
