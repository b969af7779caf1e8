"""Serves the app on a workspace with the fake trainer, in a process of its own.

Importing Gradio takes seconds, so each process is forked from one that has the modules already.
"""

import gc
import multiprocessing
import os
import sys
from pathlib import Path

_PROCESSES = multiprocessing.get_context("forkserver")
# Nothing of what is loaded there is collected, in it or in the processes that share its memory.
_PROCESSES.set_forkserver_preload(["tests.app.without_collection", "app.web.server"])


def start_server(root, port, models, environment, options):
    """Starts it; the process leads a group of its own, in which all that it starts is."""
    process = _PROCESSES.Process(target=_serve, args=(root, port, models, environment, options))
    process.start()
    return process


def _serve(root, port, models, environment, options):
    os.setsid()
    gc.freeze()
    gc.enable()
    os.environ.update(environment)
    from app.core.workspace import Workspace
    from app.web.server import launch

    fake = (sys.executable, str(Path(__file__).resolve().parent / "fake_trainer.py"))
    base_models = tuple(Path(model).resolve() for model in models)
    launch(Workspace(Path(root).resolve(), base_models, fake), port=port, **options)
