"""Takes the screenshots of the README: a real training on the starter model, seen in Chromium.

    python docs/screenshots.py [WORKSPACE]

Needs a chromium on the PATH. It copies the example style into the workspace as a dataset, trains it
through the page, and photographs the tabs into docs/images/.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.browse import open_app, open_tab, stop_workers  # noqa: E402 - needs the path above

IMAGES = ROOT / "docs" / "images"
SAMPLES = "a cat face\na panda\na frog\na robot"


def main() -> None:
    """Drives the app from the first tab to the last."""
    workspace = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).resolve()
    dataset = workspace / "datasets" / "openmoji"
    if not dataset.is_dir():
        shutil.copytree(ROOT / "examples" / "openmoji-style" / "images", dataset)
    IMAGES.mkdir(exist_ok=True)
    names = ("chromium", "chromium-browser", "google-chrome")
    browser_path = next((path for name in names if (path := shutil.which(name))), None)
    with sync_playwright() as playwright, open_app(workspace) as url:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_context(
            viewport={"width": 1180, "height": 860}, color_scheme="light"
        ).new_page()
        page.goto(url)
        _take_dataset(page, dataset)
        _take_fit(page)
        page.goto(url)
        _take_train(page)
        _take_preview(page)
        _take_library(page)
        _take_workbench(page)
        browser.close()
    stop_workers(workspace)


def _take_dataset(page: Page, dataset: Path) -> None:
    """Has captions suggested for the picture, then gives the dataset its own ones back."""
    tiles = page.locator("#dataset-grid .tile")
    expect(tiles).to_have_count(16, timeout=60_000)
    for caption in dataset.glob("*.txt"):
        caption.unlink()
    tiles.nth(5).click()
    expect(page.locator("#dataset-image img")).to_be_visible()
    page.locator("#captions-suggest").click()
    expect(page.locator("#captions-progress")).to_contain_text("suggested", timeout=120_000)
    page.mouse.move(5, 5)
    page.wait_for_timeout(3_000)
    page.locator("#captions-captioner").scroll_into_view_if_needed()
    _shoot(page, "dataset")
    shutil.rmtree(dataset / ".undo")
    for caption in (ROOT / "examples" / "openmoji-style" / "images").glob("*.txt"):
        shutil.copyfile(caption, dataset / caption.name)
    page.reload()
    expect(tiles.first).to_contain_text("a lion")


def _take_fit(page: Page) -> None:
    open_tab(page, re.compile("Train"))
    expect(page.locator("#base-model-card dl")).to_be_visible(timeout=120_000)
    page.locator("#train-memory-ask").click()
    expect(page.locator("#train-memory table")).to_be_visible(timeout=240_000)
    page.locator("#train-start").scroll_into_view_if_needed()
    page.wait_for_timeout(1_000)
    _shoot(page, "fit")


def _take_train(page: Page) -> None:
    open_tab(page, re.compile("Train"))
    page.locator("#train-settings button").first.click()
    page.locator("#setting-samples-prompts textarea").fill(SAMPLES)
    page.locator("#train-settings button").first.click()
    page.locator("#train-start").click()
    cells = page.locator("#train-samples img")
    expect(cells.nth(11)).to_be_visible(timeout=1_200_000)
    page.wait_for_timeout(6_000)
    _shoot(page, "train", full=True)
    finished = page.locator("#train-progress [data-state=finished]")
    expect(finished).to_be_visible(timeout=1_200_000)
    page.wait_for_timeout(6_000)  # the Preview tab finds the exported file within four seconds


def _take_preview(page: Page) -> None:
    open_tab(page, re.compile("Preview"))
    page.locator("#preview-prompt textarea").fill("a panda")
    page.locator("#preview-generate").click()
    expect(page.locator("#preview-status")).to_contain_text("loaded once", timeout=120_000)
    page.wait_for_timeout(2_000)
    _shoot(page, "preview", full=True)


def _take_library(page: Page) -> None:
    open_tab(page, re.compile("Library"))
    page.locator("#library-cards .card").first.click()
    expect(page.locator("#library-download a")).to_be_visible(timeout=30_000)
    page.locator("#library-about-lid button").first.click()
    expect(page.locator("#library-about")).to_contain_text("loads it", timeout=120_000)
    expect(page.locator("#library-about svg").first).to_be_visible(timeout=240_000)
    page.wait_for_timeout(2_000)
    _shoot(page, "library", full=True)
    page.locator("#library-about-lid button").first.click()


def _take_workbench(page: Page) -> None:
    """Makes the run's file smaller, which needs no second one."""
    page.locator("#workbench button").first.click()
    page.locator("#workbench-task input").click()
    page.get_by_role("option", name="Make a file smaller").click()
    page.locator("#workbench-resize-rank input").first.fill("4")
    page.locator("#workbench-prompt").get_by_role("textbox").fill("a panda")
    page.locator("#workbench-try").click()
    expect(page.locator("#workbench-drawing img")).to_have_count(2, timeout=240_000)
    page.wait_for_timeout(4_000)
    page.locator("#workbench").screenshot(path=IMAGES / "workbench.png")


def _shoot(page: Page, name: str, *, full: bool = False) -> None:
    page.screenshot(path=IMAGES / f"{name}.png", full_page=full)


if __name__ == "__main__":
    main()
