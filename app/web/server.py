"""Building the pages and serving them, with every route that Gradio leaves open closed."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware

import app
from app.core.queues import keep_worker
from app.core.workspace import MAX_LORA_BYTES, Workspace
from app.ui.theme import make_theme, read_css
from app.web import captions_routes, media, routes, text
from app.web.login import PasswordGuard
from app.web.page import build, list_views
from app.web.proxy import ProxyHeaders, name_of, read_prefix
from app.web.security import LOOPBACK, Guard, list_hosts
from datasets_tools.disk import remove_quietly
from datasets_tools.files import remove_leftovers
from trainer.runs import RunError

_QUEUE_SECONDS = 0.05
_LEFTOVER_SECONDS = 3600.0


class ServerError(RunError):
    """A server that cannot be started as asked; the command line prints it as one sentence."""


def launch(
    workspace: Workspace,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    password: str = "",
    open_browser: bool = False,
    host_names: Sequence[str] = (),
    root_path: str = "",
) -> None:
    """Serves a workspace until it is interrupted.

    Args:
        workspace: The folders of datasets, runs and previews; they are made if they are not there.
        host: Address to listen on; any but this computer's own needs a password.
        port: Port to listen on.
        password: What a browser must give before it sees anything.
        open_browser: Whether to open the page.
        host_names: By which a proxy lets others in, each with a port where it is an unusual one;
            they need a password, too.
        root_path: The path that a proxy puts before ours and does not cut.

    Raises:
        ServerError: a password is needed, a name or path is none, or the port is taken.
    """
    outside = next((one for one in (host, *host_names) if one not in LOOPBACK), "")
    if outside and not password:
        raise ServerError(text.password_needed(outside))
    _check_proxy(host_names, root_path)
    # A browser on another computer may not go through the paths of this one.
    workspace = replace(workspace, takes_paths=not outside)
    demo = build(workspace, has_password=bool(password))
    # Gradio looks for events a thousand times a second, which took 5 % of a core from the training;
    # 20 times, as it does on Windows, is soon enough for a press.
    demo._queue.sleep_when_free = _QUEUE_SECONDS
    demo._queue.progress_update_sleep_when_free = 5 * _QUEUE_SECONDS
    _drop_old_uploads(workspace)
    _remove_leftovers(workspace)
    _let_workers_find_us()
    keep_worker(workspace)
    # What lies in the working directory is something Gradio may return, so it is an empty folder.
    os.chdir(workspace.served_path)
    try:
        demo.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            **launch_options(workspace, host, password, host_names, read_prefix(root_path)),
        )
    except OSError as error:
        raise ServerError(text.port_taken(host, port)) from error
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    sys.stdout.write(f"{text.serving(f'http://{shown}:{port}', str(workspace.root))}\n")
    sys.stdout.flush()
    demo.block_thread()


def _check_proxy(host_names: Sequence[str], root_path: str) -> None:
    for name in host_names:
        if not name_of(name) or "/" in name or "*" in name:
            raise ServerError(text.no_host_name(name))
    if root_path and not read_prefix(root_path):
        raise ServerError(text.no_root_path(root_path))


def launch_options(
    workspace: Workspace,
    host: str,
    password: str,
    host_names: Sequence[str] = (),
    root_path: str = "",
) -> dict[str, Any]:
    """Returns what Gradio is launched with: every switch by name, so no default can change it."""
    hosts, uploads = list_hosts(host), workspace.uploads_path
    guards = [
        Middleware(ProxyHeaders, host_names=host_names, root_path=root_path),
        Middleware(Guard, hosts=hosts, uploads=uploads, host_names=host_names),
    ]
    if password:
        guards.append(Middleware(PasswordGuard, password=password))
    guards.append(Middleware(routes.FirstScripts, script="frames.js", module="page.js"))
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
        "css": read_css(),
        "app_kwargs": {
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            "routes": [
                *media.make_routes(workspace),
                *captions_routes.make_routes(workspace),
                *routes.make_routes(workspace, list_views()),
            ],
            "middleware": guards,
        },
    }


def _drop_old_uploads(workspace: Workspace) -> None:
    """Empties Gradio's folder: what was uploaded to an earlier server is of no use to this one."""
    for path in workspace.uploads_path.iterdir():
        remove_quietly(path)


def _remove_leftovers(workspace: Workspace) -> None:
    """Removes what killed processes left beside files; what is fresh may be being written."""
    for path in (workspace.datasets_path, workspace.loras_path, workspace.jobs_path):
        remove_leftovers(path, _LEFTOVER_SECONDS)


def _let_workers_find_us() -> None:
    """Lets `python -m app.cli` work in processes that are started from the empty folder."""
    home = str(Path(app.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [home, *(one for one in known if one not in {home, ""})]
    )
