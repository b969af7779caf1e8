"""The queue in a real browser: runs are added, moved, given a time, and go on without the app."""

import os
import signal

import pytest
from playwright.sync_api import expect

from app.core.workspace import Workspace
from tests.app.conftest import ROOT, draw_images, serving_at, wait_for
from tests.ports import hold_port
from trainer.runs import find_owner, list_runs, read_events, read_status
from trainer.runs.queue import read_queue
from trainer.runs.queue.worker import find_worker_folder

pytestmark = pytest.mark.browser
STARTER = ROOT / "examples" / "starter-model"


@pytest.fixture
def workspace(tmp_path):
    made = Workspace(tmp_path / "workspace", (STARTER,))
    made.prepare()
    draw_images(made.datasets_path / "cats", 3)
    return made


@pytest.fixture
def page(browser):
    expect.set_options(timeout=90_000)  # a core may be busy with something else
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    yield context.new_page()
    context.close()


def add(page, name):
    page.locator("#setting-name input, #setting-name textarea").first.fill(name)
    page.locator("#train-queue").click()
    expect(page.locator("#train-note")).to_contain_text(f"“{name}” is in the queue")


def expect_rows(page, *names):
    rows = page.locator("#queue tr[id] th")
    expect(rows).to_have_text(list(names))


def press(page, name, key):
    row = page.locator("#queue tr[id]").filter(has=page.get_by_role("rowheader", name=name))
    row.locator(f'[data-key="{key}"]').click()


def test_runs_are_queued_ordered_and_outlive_the_app(page, workspace, gates):
    gates.close("step-20")
    with hold_port() as port:
        with serving_at(port, workspace.root, STARTER) as url:
            page.goto(f"{url}/?tab=train")
            expect(page.locator("#train-dataset")).to_contain_text("cats, 3 images")
            page.locator("#setting-train-steps input").fill("30")
            for name in ("first", "second", "third", "later"):
                add(page, name)
            expect_rows(page, "first", "second", "third", "later")
            expect(page.locator("#queue tr[id]").first).to_contain_text("step 19 of 30")
            expect(page.locator("#queue-count")).to_have_text("queue 3")
            press(page, "third", "up")
            expect_rows(page, "first", "third", "second", "later")
            set_time(page, "later", "2095-12-31T23:30")
            row = page.locator("#queue tr[id]").last
            expect(row).to_contain_text("not before 2095-12-31 23:30")
            # The number in the status bar leads to the rows, from any tab.
            page.get_by_role("tab", name="Preview").click()
            page.locator("#queue-count button").click()
            expect(page.locator("#queue .queue")).to_be_in_viewport()
            page.locator("#queue-pause").click()
            expect(page.locator("#queue-count")).to_have_text("queue 3 (paused)")
            page.locator("#queue-start").click()
            expect(page.locator("#queue-count")).to_have_text("queue 3")
            worker = find_owner(find_worker_folder(workspace.root))
            os.kill(worker.pid, signal.SIGKILL)
            started = [run.id for run in list_runs(workspace.runs_path) if count(run, "started")]
            assert len(started) == 1
        # The app has ended, and its runs with it by the fixture; a new one goes on.
        gates.open("step-20")
        with serving_at(port, workspace.root, STARTER) as url:
            page.goto(f"{url}/?tab=train")
            expect_rows(page, "later")
            press(page, "later", "remove")
            expect(page.locator("#queue tr[id]")).to_have_count(0)
            wait_for(lambda: not read_queue(workspace.root).entries)
    runs = {run.config.name: run for run in list_runs(workspace.runs_path)}
    order = ("first", "third", "second")
    assert [read_status(runs[name].path).state for name in order] == ["finished"] * 3
    assert [count(runs[name], "ended") for name in order] == [1, 1, 1]
    ends = [read_events(runs[name].events_path)[-1]["time"] for name in order]
    assert ends == sorted(ends)
    assert read_status(runs["later"].path).state == "queued"


def set_time(page, name, moment):
    row = page.locator("#queue tr[id]").filter(has=page.get_by_role("rowheader", name=name))
    row.locator("summary").click()
    row.locator("input").fill(moment)
    row.locator('[data-key="at"]').click()


def count(run, kind):
    return [each["event"] for each in read_events(run.events_path)].count(kind)
