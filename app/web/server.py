"""Building the pages and serving them, with every door that Gradio leaves open shut."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

import app
from app.core.run_views import choose_run, list_run_views
from app.core.workspace import MAX_LORA_BYTES, Workspace
from app.dataset import text as dataset_text
from app.dataset.page import dataset_page
from app.library.page import library_page
from app.preview.page import preview_page
from app.train import text as train_text
from app.train.page import train_page
from app.train.run_bar import run_bar
from app.ui import watch
from app.ui.adoption import ADOPT_IF_UNTOUCHED
from app.ui.choice import Choice
from app.ui.markup import element, join
from app.ui.paint import QUIET
from app.ui.scripts import ADDRESS_WAS_READ, SELECT_TRAIN_TAB, remember_in_address
from app.ui.shell import FOLDERS_SECONDS, STATUS_SECONDS, Shell
from app.ui.theme import CSS, make_theme
from app.ui.watch import make_watch
from app.web import media
from app.web import text as words
from app.web.login import PasswordDoor
from app.web.security import LOOPBACK, Guard, list_hosts
from trainer.runs import RunError

_UPLOADS_KEPT_SECONDS = 3600
TABS = {"dataset": dataset_page, "train": train_page, "preview": preview_page,
        "library": library_page}  # fmt: skip


class ServerError(RunError):
    """A server that cannot be started as asked; the command line prints it as one sentence."""


def serve(
    workspace: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    password: str = "",
    base_models: Sequence[Path] = (),
    open_browser: bool = False,
) -> None:
    """Serves the app until it is interrupted.

    Args:
        workspace: Folder for datasets, runs and previews; it is made if it is not there.
        host: Address to listen on; any but this computer's own needs a password.
        port: Port to listen on.
        password: What a browser must give before it sees anything.
        base_models: Folders of base models besides those in the workspace.
        open_browser: Whether to open the page.

    Raises:
        ServerError: the host needs a password, or the port is taken.
    """
    models = tuple(model.resolve() for model in base_models)
    launch(
        Workspace(workspace.resolve(), models),
        host=host,
        port=port,
        password=password,
        open_browser=open_browser,
    )


def launch(
    workspace: Workspace,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    password: str = "",
    open_browser: bool = False,
) -> None:
    """Serves a workspace until it is interrupted; see `serve`."""
    if host not in LOOPBACK and not password:
        raise ServerError(words.password_needed(host))
    # A browser on another computer may not go through the paths of this one.
    workspace = replace(workspace, takes_paths=host in LOOPBACK)
    demo = build(workspace)
    _drop_old_uploads(workspace)
    _let_workers_find_us()
    # What lies in the working directory is something Gradio may return, so it is an empty folder.
    os.chdir(workspace.served_path)
    try:
        demo.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            **launch_options(workspace, host, password),
        )
    except OSError as error:
        raise ServerError(words.port_taken(host, port)) from error
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    sys.stdout.write(f"{words.serving(f'http://{shown}:{port}')}\n")
    sys.stdout.flush()
    demo.block_thread()


def launch_options(workspace: Workspace, host: str, password: str) -> dict[str, Any]:
    """Returns what Gradio is launched with: every switch by name, so no default can change it."""
    guards = [Middleware(Guard, hosts=list_hosts(host), uploads=workspace.uploads_path)]
    if password:
        guards.append(Middleware(PasswordDoor, password=password))
    return {
        "share": False,
        "quiet": True,
        "show_error": False,
        "allowed_paths": [],
        "blocked_paths": [],
        "root_path": "",
        "max_file_size": MAX_LORA_BYTES,
        "enable_monitoring": False,
        "strict_cors": True,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "num_workers": None,
        "run_history": False,
        "footer_links": [],
        "theme": make_theme(),
        "css": CSS,
        "app_kwargs": {
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            "routes": [*media.make_routes(workspace), *watch.make_routes(workspace)],
            "middleware": guards,
        },
    }


def build(workspace: Workspace) -> gr.Blocks:
    """Returns the app on a workspace, whose folders are made if they are not there."""
    workspace.prepare()
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.uploads_path)
    age = (600, _UPLOADS_KEPT_SECONDS)
    demo = gr.Blocks(title=train_text.APP_NAME, analytics_enabled=False, delete_cache=age)
    with demo:
        gr.HTML(
            join(element("h1", train_text.APP_NAME), element("p", train_text.TAGLINE)),
            elem_id="heading",
        )
        shell = _make_shell(workspace, demo)
        run_bar(shell)
        with gr.Tabs(elem_id="tabs") as tabs:
            for number, (name, page) in enumerate(TABS.items(), 1):
                title = f"{number} {train_text.TABS[name]}"
                with gr.Tab(title, id=name, elem_id=f"tab-{name}") as tab:
                    page(shell)
                tab.select(fn=None, js=remember_in_address("tab", name))
        # What another tab asks of the Train tab is seen there.
        shell.wish.change(fn=None, outputs=[tabs], js=SELECT_TRAIN_TAB)

        def open_address(dataset: Any, run: Any, request: gr.Request) -> list[Any]:
            return _open_address(workspace, request, dataset, run)

        chosen = [shell.dataset, shell.run]
        demo.load(
            open_address,
            chosen,
            [tabs, shell.dataset, shell.base_model, shell.run, shell.address],
            **QUIET,
        ).then(fn=None, js=ADDRESS_WAS_READ)
        shell.address.change(
            fn=None, inputs=[shell.address, *chosen], outputs=chosen, js=ADOPT_IF_UNTOUCHED
        )
    return demo


def _make_shell(workspace: Workspace, demo: gr.Blocks) -> Shell:
    datasets = workspace.list_datasets()
    models = list(workspace.list_base_models())
    views = list_run_views(workspace)
    shown = choose_run(views)
    backstage = gr.Column(visible="hidden", elem_id="backstage")
    with backstage:
        wish = gr.Textbox(visible="hidden", elem_id="wish", label="wish")
        address = gr.Textbox(visible="hidden", elem_id="address", label="address")
    return Shell(
        workspace=workspace,
        demo=demo,
        backstage=backstage,
        dataset=Choice(
            choices=datasets,
            value=datasets[0] if datasets else None,
            label=dataset_text.CHOOSE,
            elem_id="dataset-choice",
            min_width=220,
            render=False,
        ),
        base_model=Choice(
            choices=models,
            value=models[0] if models else None,
            label=train_text.BASE_MODEL,
            info=train_text.BASE_MODEL_INFO,
            elem_id="train-base-model",
            min_width=260,
            render=False,
        ),
        run=Choice(
            choices=[(f"{one.name} · {one.id}", one.id) for one in views],
            value=shown.id if shown else None,
            label=train_text.SHOWN_RUN,
            elem_id="train-run",
            render=False,
        ),
        wish=wish,
        address=address,
        runs_watch=make_watch("runs", STATUS_SECONDS),
        drawing_watch=make_watch("drawing", STATUS_SECONDS),
        datasets_watch=make_watch("datasets", FOLDERS_SECONDS),
        exports_watch=make_watch("exports", FOLDERS_SECONDS),
        pictures_watch=make_watch("pictures", FOLDERS_SECONDS),
        models_watch=make_watch("models", STATUS_SECONDS),
        downloads_watch=make_watch("downloads", STATUS_SECONDS),
        questions_watch=make_watch("questions", STATUS_SECONDS),
        files_watch=make_watch("files", STATUS_SECONDS),
    )


def _open_address(workspace: Workspace, request: gr.Request, *was: Any) -> list[Any]:
    """Returns tab and choices as the page's address has them, so that a reload shows the same.

    Dataset and run are found for the browser, which takes them if they are still what they `was`.
    """
    asked = request.query_params
    datasets = workspace.list_datasets()
    wanted = asked.get("dataset")
    dataset = wanted if wanted in datasets else (datasets[0] if datasets else None)
    models = list(workspace.list_base_models())
    views = list_run_views(workspace)
    shown = choose_run(views, asked.get("run"))
    tab = asked.get("tab")
    return [
        gr.Tabs(selected=tab) if tab in TABS else gr.skip(),
        gr.update(choices=datasets),
        gr.update(choices=models),
        gr.update(choices=[(f"{one.name} · {one.id}", one.id) for one in views]),
        json.dumps({"was": was, "found": [dataset, shown.id if shown else None]}),
    ]


def _drop_old_uploads(workspace: Workspace) -> None:
    """Empties Gradio's folder: what was uploaded to an earlier server is of no use to this one."""
    for path in workspace.uploads_path.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _let_workers_find_us() -> None:
    """Lets `python -m app.cli` work in processes that are started from the empty folder."""
    home = str(Path(app.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [home, *(one for one in known if one not in {home, ""})]
    )
