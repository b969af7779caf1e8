"""The page, put together from its subjects: the status bar, the tabs, and what they share."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

import gradio as gr

from app.combine import html as combine_html
from app.combine.page import build_workbench
from app.core.run_lists import list_choices, read_choices_version
from app.core.text import APP_NAME
from app.core.workspace import Workspace
from app.dataset import html as dataset_html
from app.dataset import text as dataset_text
from app.dataset.page import build_dataset_page
from app.library import about as library_about
from app.library import html as library_html
from app.library.page import build_library_page
from app.models import html as models_html
from app.models.page import build_base_model
from app.preview import html as preview_html
from app.preview.page import build_preview_page
from app.queue import html as queue_html
from app.queue.page import build_queue
from app.train import html as train_html
from app.train import text as train_text
from app.train.page import build_train_page
from app.train.run_actions import continue_run
from app.ui.context import Choice, PageContext
from app.ui.fragments import Params, View, fragment
from app.ui.markup import element, join, make_skeleton
from app.ui.wire import wire_in_browser
from app.web import banner, text
from app.web.login import LOGOUT_PATH

_UPLOAD_SECONDS = 3600


@dataclass(frozen=True)
class Tab:
    """A tab: its title, what builds it, and the views of its fragments."""

    title: str
    build: Callable[..., None]
    views: Mapping[str, View] = field(default_factory=dict)


# Adding a tab takes a folder and a line here.
TABS = {
    "dataset": Tab("Dataset", build_dataset_page, dataset_html.VIEWS),
    "train": Tab(
        "Train",
        partial(build_train_page, build_base_model=build_base_model, build_queue=build_queue),
        {**train_html.VIEWS, **models_html.VIEWS, **queue_html.VIEWS},
    ),
    "preview": Tab("Preview", build_preview_page, preview_html.VIEWS),
    "library": Tab(
        "Library",
        partial(build_library_page, build_combine=build_workbench, continue_run=continue_run),
        {**library_html.VIEWS, **library_about.VIEWS, **combine_html.VIEWS},
    ),
}


def list_views() -> dict[str, View]:
    """Returns the views of all tabs, and of what stands above them."""
    views = {"choices": View(_render_choices, _read_choices_version), **banner.VIEWS}
    for tab in TABS.values():
        views |= tab.views
    return views


def build(workspace: Workspace, *, has_password: bool = False) -> gr.Blocks:
    """Returns the app on a workspace, whose folders are made if they are not there.

    Args:
        workspace: The folders.
        has_password: Whether there is a session to leave.
    """
    workspace.prepare()
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.uploads_path)
    age = (600, _UPLOAD_SECONDS)
    demo = gr.Blocks(title=APP_NAME, analytics_enabled=False, delete_cache=age)
    with demo:
        with gr.Row(elem_id="top"):
            gr.HTML(_make_heading(has_password), elem_id="heading")
            with gr.Row(elem_id="status-bar"):
                fragment("status", elem_id="run-bar", placeholder=make_skeleton())
                count = fragment("queue-count", elem_id="queue-count")
        fragment("computer", elem_id="computer", polled=False)
        gr.HTML(
            element("p", text.CONNECTION_LOST, element("time", ""), class_="note", role="alert"),
            elem_id="connection",
        )
        choices = fragment("choices", elem_id="choices", data=True)
        context = _make_context(workspace, demo)
        with context.tabs:
            for number, (name, tab) in enumerate(TABS.items(), 1):
                with gr.Tab(f"{number} {tab.title}", id=name, elem_id=f"tab-{name}"):
                    tab.build(context)
        _wire_choices(context, choices)
        wire_in_browser(count.select, "openQueue", outputs={"tabs": context.tabs})
    return demo


def _make_heading(has_password: bool) -> str:
    heading = [element("h1", APP_NAME, title=text.TAGLINE)]
    if has_password:
        button = element("button", text.LOG_OUT, type="submit")
        heading.append(element("form", button, method="post", action=f".{LOGOUT_PATH}"))
    return join(*heading)


def _render_choices(workspace: Workspace, _params: Params) -> str:
    """Returns the lists, and the tabs' names, as the page's script reads them."""
    return json.dumps(
        {
            "lists": list_choices(workspace),
            "tabs": list(TABS),
            # By which a browser knows what it keeps of this workspace, without its path.
            "workspace": sha256(str(workspace.root.resolve()).encode()).hexdigest()[:16],
        },
        ensure_ascii=False,
    )


def _read_choices_version(workspace: Workspace, _params: Params) -> object:
    return read_choices_version(workspace)


def _wire_choices(context: PageContext, choices: gr.HTML) -> None:
    shared = {"dataset": context.dataset, "base_model": context.base_model, "run": context.run}
    wire_in_browser(choices.tick, "applyChoices", shared, {**shared, "tabs": context.tabs})
    wire_in_browser([one.change for one in shared.values()], "reportChoices", shared)


def _make_context(workspace: Workspace, demo: gr.Blocks) -> PageContext:
    # Lists and values come from the browser (`js/choices.js`), which knows the address.
    dataset = Choice(
        label=dataset_text.CHOOSE, elem_id="dataset-choice", min_width=220, render=False
    )
    base_model = Choice(
        label=train_text.BASE_MODEL, info=train_text.BASE_MODEL_INFO, min_width=260, render=False,
        elem_id="train-base-model",
    )  # fmt: skip
    run = Choice(label=train_text.SHOWN_RUN, elem_id="train-run", render=False)
    return PageContext(workspace, demo, gr.Tabs(elem_id="tabs"), dataset, base_model, run)
