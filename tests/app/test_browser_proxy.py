"""The app in a browser behind a proxy: under a path, under a name, over plain HTTP requests."""

import re

import pytest
from playwright.sync_api import expect

from tests.app.conftest import ROOT, draw_images, serving
from tests.app.reverse_proxy import proxying
from tests.ports import hold_port

pytestmark = pytest.mark.browser

STARTER = ROOT / "examples" / "starter-model"
PATH = "/gpu/7860"
# A browser finds such a name on this computer.
NAME = "gpu.localhost"


@pytest.fixture
def page(browser):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(90_000)
    page.sockets = []
    page.on("websocket", lambda socket: page.sockets.append(socket.url))
    yield page
    context.close()


def log_in(page, address):
    page.goto(address)
    page.get_by_label("Password").fill("open sesame")
    page.get_by_role("button", name="Open").click()


def is_loaded(image):
    return image.evaluate("(image) => image.decode().then(() => image.naturalWidth > 0)")


def upload_and_caption(page, root, files):
    page.set_input_files("#dataset-upload input[type=file]", [*map(str, files)])
    tiles = page.locator("#dataset-grid .tile")
    expect(tiles).to_have_count(len(files))
    assert is_loaded(tiles.nth(0).locator("img"))
    tiles.nth(1).click()
    expect(page.locator("#dataset-image")).to_contain_text("image-1.png")
    assert is_loaded(page.locator("#dataset-image img").first)
    page.fill("#dataset-caption textarea", "a green cat")
    tiles.nth(0).click()
    expect(page.locator("#dataset-caption-note")).to_contain_text("Saved: image-1.png")
    (caption,) = root.glob("datasets/*/image-1.txt")
    assert caption.read_text() == "a green cat"


def train_and_download(page):
    page.get_by_role("tab", name=re.compile("Train")).click()
    expect(page.locator("#base-model-card")).to_contain_text("Stable Diffusion")
    page.locator("#train-start").click()
    expect(page.locator("#train-progress [data-state=finished]")).to_be_visible(timeout=240_000)
    page.get_by_role("tab", name=re.compile("Library")).click()
    page.locator("#library-cards .card").first.click()
    with page.expect_download() as waiting:
        page.locator("#library-download a").click()
    assert waiting.value.failure() is None


# A proxy that cuts its path and tells nothing, as Colab's port view; others that pass it on.
@pytest.mark.parametrize(
    ("cuts", "tells", "root_path", "end"),
    [(True, False, "", ""), (False, True, "", "/"), (False, False, PATH, "/")],
    ids=["cuts", "tells", "root-path"],
)
def test_app_works_below_a_path_of_a_named_host(page, tmp_path, cuts, tells, root_path, end):
    root = tmp_path / "workspace"
    files = draw_images(tmp_path / "pictures", 3)
    with hold_port() as port:
        options = {"host_names": [f"{NAME}:{port}"], "password": "open sesame"}
        with (
            serving(root, STARTER, root_path=root_path, **options) as target,
            proxying(target, port, PATH, cuts=cuts, tells=tells) as proxy,
        ):
            log_in(page, f"http://{NAME}:{port}{PATH}{end}")
            upload_and_caption(page, root, files)
            train_and_download(page)
            page.reload()
            expect(page.locator("#library-cards .card").first).to_be_visible()
            assert proxy.outside == []
    assert page.sockets == []
