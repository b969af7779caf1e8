"""The workbench in a real browser, on the starter model: real files, real commands, real pictures.

No stand-in here: what is merged is loaded and drawn with, which is what the section is for.
"""

import re

import numpy
import pytest
from PIL import Image
from playwright.sync_api import expect
from safetensors.numpy import save_file

from tests.e2e.browse import ROOT, open_app, open_tab, stop_workers
from trainer.formats.header import read_header

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(1200)]

STARTER = ROOT / "examples" / "starter-model"


@pytest.fixture
def workspace(tmp_path):
    place = tmp_path / "workspace"
    (place / "loras").mkdir(parents=True)
    for seed, name in enumerate(("cat", "style")):
        write_lora(place / "loras" / f"{name}.safetensors", seed)
    yield place
    stop_workers(place)


def write_lora(path, seed):
    """Writes a LoRA of rank 4 on the attention of the starter model's UNet."""
    drawn = numpy.random.default_rng(seed)
    tensors = {}
    entries = {}
    for shard in sorted((STARTER / "unet").glob("*.safetensors")):
        entries |= read_header(shard).tensors
    for key, entry in entries.items():
        if re.search(r"attn\d\.to_[qkv]\.weight$", key):
            name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            outputs, inputs = entry.shape
            for part, shape in (("lora_down", (4, inputs)), ("lora_up", (outputs, 4))):
                numbers = drawn.standard_normal(shape).astype("float32") * 0.2
                tensors[f"{name}.{part}.weight"] = numbers
            tensors[f"{name}.alpha"] = numpy.array(4, "float32")
    told = {"ss_base_model_version": "sd_v1", "modelspec.architecture": "stable-diffusion-v1/lora"}
    save_file(tensors, path, told)


def choose(page, box, name):
    page.locator(f"{box} input").click()
    page.get_by_role("option", name=name).first.click()


def read_pictures(workspace):
    """The two pictures that were drawn last."""
    folder = max((workspace / "preview" / "results").glob("*/result.json")).parent
    return [numpy.asarray(Image.open(folder / f"{side}.png")) for side in ("without", "with")]


def test_two_files_are_merged_seen_and_saved(browser, workspace):
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(120_000)
    expect.set_options(timeout=120_000)
    with open_app(workspace) as url:
        page.goto(f"{url}/?tab=library")
        page.locator("#workbench button").first.click()
        expect(page.locator("#workbench-file-2 input")).to_have_value("style (file)")
        choose(page, "#workbench-base-model", "starter-model")
        page.locator("#workbench-prompt").get_by_role("textbox").fill("a panda")
        save = page.locator("#workbench-save")
        expect(save).to_be_disabled()
        page.locator("#workbench-try").click()
        report = page.locator("#workbench-report")
        expect(report).to_contain_text("they hardly touch each other")
        pictures = page.locator("#workbench-drawing img")
        expect(pictures).to_have_count(2)
        for side in range(2):
            expect(pictures.nth(side)).to_have_js_property("complete", True)
            assert pictures.nth(side).evaluate("image => image.naturalWidth") > 0
        plain, drafted = read_pictures(workspace)
        assert plain.shape == drafted.shape
        assert (plain != drafted).any()
        assert list((workspace / "loras").glob("*and*")) == []

        weight = page.locator("#workbench-weight-1 input[type=number]")
        weight.fill("0.5")
        weight.press("Tab")
        expect(report).to_contain_text("other settings")
        expect(save).to_be_disabled()
        weight.fill("1")
        weight.press("Tab")
        expect(report).not_to_contain_text("other settings")
        save.click()
        expect(page.locator("#workbench-saved")).to_contain_text("Saved: cat-and-style.safetensors")
        expect(page.locator("#library-cards")).to_contain_text("cat-and-style")
        open_tab(page, re.compile("Preview"))
        choose(page, "#preview-adapter", "cat-and-style (file)")
    header = read_header(workspace / "loras" / "cat-and-style.safetensors")
    assert header.metadata["modelspec.merged_from"] == "cat, style"
    assert header.metadata["modelspec.title"] == "cat-and-style"
