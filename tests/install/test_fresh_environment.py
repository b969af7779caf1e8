"""`make dist`, installed with pip and with uv into empty environments outside the repository: the
demo, the app in a browser, a training run, a preview; and nothing is left after uninstalling.
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.install.installing import (
    ROOT,
    SCRIPTS,
    call,
    find_uv,
    list_files,
    make_environment,
    read_index,
)
from tests.ports import hold_port

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(3000)]

IMAGES = ROOT / "examples" / "openmoji-style" / "images"
QUICK = ["--set=train.steps=2", "--set=samples.every_steps=0"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The sdist and the wheel that is built from it, as `make dist` makes them."""
    uv, folder = find_uv(), tmp_path_factory.mktemp("dist")
    if uv is None:
        pytest.skip("uv is not installed")
    call(uv, "build", "--quiet", "--out-dir", folder, ROOT, folder=folder, **read_index(folder))
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def install(installer, python, file, folder):
    pins = ["--constraint", ROOT / "constraints.txt", file]
    if installer == "pip":
        call(python, "-m", "pip", "install", "--quiet", *pins, folder=folder)
    else:
        options = ["--quiet", "--python", python, *pins]
        call(find_uv(), "pip", "install", *options, folder=folder, **read_index(folder))


def uninstall(installer, python, folder):
    if installer == "pip":
        call(python, "-m", "pip", "uninstall", "--quiet", "--yes", "lorasmith", folder=folder)
    else:
        call(find_uv(), "pip", "uninstall", "--python", python, "lorasmith", folder=folder)


@pytest.mark.parametrize(("installer", "kind"), [("pip", "wheel"), ("uv", "sdist")])
def test_everything_works_from_a_fresh_environment(browser, dist, tmp_path, installer, kind):
    environment = tmp_path / "environment"
    python = make_environment(environment)
    install(installer, python, dist[kind], tmp_path)
    command = environment / SCRIPTS / "lorasmith"
    home = {"HOME": tmp_path, "USERPROFILE": tmp_path}
    printed = call(command, "demo", *QUICK, folder=tmp_path, **home)
    assert "The LoRA file:" in printed
    assert list((tmp_path / "lorasmith" / "runs").glob("*/grid.png"))
    walk_through_the_app(browser, command, tmp_path)
    check_uninstall(installer, python, environment, tmp_path)


def check_uninstall(installer, python, environment, folder):
    before = list_files(environment)
    assert len({one for one in before if is_ours(one)}) > 400
    uninstall(installer, python, folder)
    left = list_files(environment)
    assert [one for one in left if is_ours(one)] == []
    assert [one for one in before - left if not is_ours(one)] == []
    site = next(environment.rglob("site-packages"))  # folders, too
    assert [path.name for path in site.iterdir() if is_ours(f"site-packages/{path.name}")] == []


def is_ours(path):
    """Whether a path in an environment belongs to Lorasmith."""
    inside = path.partition("site-packages/")[2]
    ours = r"(app|trainer|presets|datasets_tools|lorasmith[^/]*)(/|$)"
    return bool(re.match(ours, inside)) or f"{SCRIPTS}/lorasmith" in path


def walk_through_the_app(browser, command, folder):
    """Opens the app, uploads captioned images, trains four steps and draws a preview."""
    workspace = folder / "lorasmith"
    environment = {**os.environ, "HOME": str(folder), "OMP_WAIT_POLICY": "PASSIVE"}
    environment.pop("PYTHONPATH", None)
    with hold_port() as port:
        process = subprocess.Popen(
            [str(command), "app", f"--port={port}"],
            cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for_answer(process, f"http://127.0.0.1:{port}")
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.set_default_timeout(240_000)
            expect.set_options(timeout=240_000)
            page.goto(f"http://127.0.0.1:{port}")
            train_and_preview(page, workspace)
            page.close()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
            end_workers(workspace)


def wait_for_answer(process, url):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, "the app ended"
        try:
            if urllib.request.urlopen(url, timeout=5).status == 200:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise AssertionError("the app did not answer in time")


def train_and_preview(page, workspace):
    page.set_input_files(
        "#dataset-upload input[type=file]", [str(one) for one in sorted(IMAGES.glob("*.png"))[:10]]
    )
    expect(page.locator("#dataset-grid .tile")).to_have_count(10)
    page.locator("#captions-suggest").click()
    expect(page.locator("#captions-progress")).to_contain_text("captions suggested")
    page.get_by_role("tab", name=re.compile("Train")).click()
    expect(page.locator("#base-model-card")).to_contain_text("Stable Diffusion 1.x")
    page.locator("#setting-train-steps input").fill("4")
    page.locator("#train-start").click()
    expect(page.locator("#train-progress [data-state=finished]")).to_be_visible(timeout=400_000)
    page.get_by_role("tab", name=re.compile("Preview")).click()
    expect(page.locator("#preview-adapter input")).not_to_have_value("")
    page.locator("#preview-prompt textarea").fill("a panda")
    page.locator("#preview-steps input[type=number]").fill("4")
    page.locator("#preview-generate").click()
    expect(page.locator("#preview-status")).to_contain_text("loaded once", timeout=400_000)
    assert list((workspace / "preview" / "results").glob("*/with.png"))


def end_workers(workspace):
    """Ends the preview worker, which outlives the app by design."""
    from tests.e2e.browse import stop_workers

    stop_workers(workspace)


if sys.platform == "win32":
    pytest.skip("the processes are ended the POSIX way", allow_module_level=True)
