"""Skips the tests whose device or program this machine does not have, and says which."""

import shutil

import hypothesis
import pytest

# An example that takes long says something about the machine, not about the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not has_cuda():
        skip_all(gpu_items, "needs a CUDA device; torch finds none here")
    browser_items = [item for item in items if item.get_closest_marker("browser")]
    if browser_items and not any(shutil.which(name) for name in BROWSERS):
        skip_all(browser_items, f"needs a browser; none of {', '.join(BROWSERS)} is on the PATH")


def skip_all(items: list[pytest.Item], reason: str) -> None:
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


def has_cuda() -> bool:
    import torch  # only a run that collected a gpu test waits for this import

    return torch.cuda.is_available()


@pytest.fixture
def browser(chromium):
    """The browser; its pages are closed with the test.

    One that is left open goes on asking its server, which is gone, at a third of a core.
    """
    yield chromium
    for context in chromium.contexts:
        context.close()


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests: two at once in one process are more than Playwright takes."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=90_000)  # a core may be busy with something else
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
