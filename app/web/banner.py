"""What is seriously wrong with this computer, above the tabs; nothing where all is in order."""

import functools
import time
from collections.abc import Iterable
from pathlib import Path

from app.core.workspace import Workspace
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join
from trainer.doctor import Finding, check_quickly

_SECONDS = 60  # for which an answer holds: a disk fills and is emptied again


def make_banner(findings: Iterable[Finding]) -> Markup:
    """Returns the errors among findings, each with the line to type."""
    boxes = [
        element(
            "div",
            element("p", finding.message),
            element("code", finding.remedy) if finding.remedy else "",
            class_="note note-error",
            role="alert",
            data_code=finding.code,
        )
        for finding in findings
        if finding.severity == "error"
    ]
    return join(*boxes)


@functools.lru_cache(maxsize=1)
def _check(workspace: Path, shows_paths: bool, _minute: int) -> Markup:
    # On another computer nobody types the line, and its path is none of their business.
    return make_banner(check_quickly(workspace, python="" if shows_paths else "python"))


def _render(workspace: Workspace, _params: Params) -> Markup:
    return _check(workspace.root, workspace.takes_paths, int(time.monotonic() // _SECONDS))


VIEWS = {"computer": View(_render)}
