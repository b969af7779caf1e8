"""Skips the tests whose device or program this machine does not have, and deals out the others."""

import gc
import shutil
from pathlib import Path

import hypothesis
import pytest

# An example that takes long says something about the machine, not about the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# The first one is Chromium without its window, whose own pages take as much as a test's.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

# The collector looks at every object again and again, and libraries make half a million of them: a
# tenth of the suite's time. They are left out once they are there (`freeze_objects`).
gc.disable()
MANY_OBJECTS = 50_000

TESTS = Path(__file__).parent
# Folders and files whose tests stay in one process, for what is prepared for all of them.
GROUPS = ("starter",)
# They take longest, so that none of them may be the last one, with the other processes idle.
FIRST = (
    "e2e/test_main_job.py",
    "trainer/test_kinds_train.py",
    "trainer/test_single_file.py",
    "trainer/test_convert.py",
    "starter",
    "trainer/test_memory.py",
    "trainer/test_training.py",
    "trainer/test_combine_models.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Deals out whole groups: what a file prepares for its tests is prepared in one process.

    xdist's own `loadgroup` marks the groups in the tests' names, which pytest 9.2 does not keep.
    """
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return name_group(nodeid)

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank_group(name_group(item.nodeid)))
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not has_cuda():
        skip_all(gpu_items, "needs a CUDA device; torch finds none here")
    browser_items = [item for item in items if item.get_closest_marker("browser")]
    if browser_items and not any(shutil.which(name) for name in BROWSERS):
        skip_all(browser_items, f"needs a browser; none of {', '.join(BROWSERS)} is on the PATH")


def pytest_collection_finish() -> None:
    freeze_objects()
    gc.enable()


def pytest_runtest_setup() -> None:
    """Freezes what tests have imported since."""
    if len(gc.get_objects()) > MANY_OBJECTS:
        freeze_objects()


def freeze_objects() -> None:
    """Leaves all objects that are in use now out of later collections."""
    gc.collect()
    gc.freeze()


def name_group(nodeid: str) -> str:
    """Returns what of the tests a process takes as a whole with this one: a folder or a file."""
    path = nodeid.partition("::")[0].removeprefix("tests/")
    return next((group for group in GROUPS if path.startswith(f"{group}/")), path)


def rank_group(group: str) -> int:
    return FIRST.index(group) if group in FIRST else len(FIRST)


def skip_all(items: list[pytest.Item], reason: str) -> None:
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


def has_cuda() -> bool:
    import torch  # only a run that collected a gpu test waits for this import

    return torch.cuda.is_available()


@pytest.fixture
def free_names(tmp_path):
    """Skips the test where the system does not allow all names that POSIX has."""
    try:
        (tmp_path / 'a <b>: "c".').touch()
    except OSError:
        pytest.skip("the test is about a name that this system does not allow")
    (tmp_path / 'a <b>: "c".').unlink()


@pytest.fixture
def removes_open_files(tmp_path):
    """Skips the test where the system does not let go of a file that is open."""
    with (tmp_path / "open").open("w"):
        try:
            (tmp_path / "open").unlink()
        except OSError:
            pytest.skip("the test removes a file that is open, which this system refuses")


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
