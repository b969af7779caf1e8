"""Serves the app on a workspace with the fake trainer: serve_app.py WORKSPACE PORT [BASE_MODEL]."""

import sys
from pathlib import Path

from app.core.workspace import Workspace
from app.web.server import launch

if __name__ == "__main__":
    root, port, *models = sys.argv[1:]
    fake = (sys.executable, str(Path(__file__).resolve().parent / "fake_trainer.py"))
    base_models = tuple(Path(model).resolve() for model in models)
    launch(Workspace(Path(root).resolve(), base_models, fake), port=int(port))
