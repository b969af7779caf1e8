"""The line above the tabs about this computer: errors only, with the line to type, and cheap."""

import sys

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.web import banner
from app.web.page import list_views
from app.web.routes import make_routes
from trainer.doctor import Finding

BAD = Finding("nvidia-cpu-torch", "error", "PyTorch <cannot> use the card.", "pip install 'x'")
LITTLE = Finding("disk", "warning", "Little space.")


@pytest.fixture
def findings(monkeypatch):
    """What the check finds, and how often it was made."""
    state = {"findings": [], "calls": []}

    def check(workspace, python=""):
        state["calls"].append(python)
        return state["findings"]

    monkeypatch.setattr(banner, "check_quickly", check)
    banner._check.cache_clear()
    yield state
    banner._check.cache_clear()


def fetch(workspace):
    return TestClient(Starlette(routes=make_routes(workspace, list_views()))).get(
        "/view/computer/-"
    )


def test_nothing_is_shown_where_nothing_is_serious(workspace, findings):
    findings["findings"] = [LITTLE]
    assert fetch(workspace).text == ""


def test_an_error_is_shown_with_its_line_and_escaped(workspace, findings):
    findings["findings"] = [BAD, LITTLE]
    text = fetch(workspace).text
    assert "PyTorch &lt;cannot&gt; use the card." in text
    assert "<code>pip install &#x27;x&#x27;</code>" in text
    assert 'role="alert"' in text
    assert "Little space" not in text


def test_the_computer_is_looked_at_once_a_minute(workspace, findings, monkeypatch):
    monkeypatch.setattr(banner.time, "monotonic", lambda: 61.0)
    fetch(workspace), fetch(workspace)
    assert len(findings["calls"]) == 1
    monkeypatch.setattr(banner.time, "monotonic", lambda: 121.0)
    fetch(workspace)
    assert len(findings["calls"]) == 2


@pytest.mark.parametrize(("here", "python"), [(True, ""), (False, "python")])
def test_another_computer_is_not_shown_a_path_of_this_one(workspace, findings, here, python):
    from dataclasses import replace

    fetch(replace(workspace, takes_paths=here))
    assert findings["calls"] == [python]


def test_the_check_itself_imports_no_torch(workspace):
    loaded = "torch" in sys.modules
    banner._check.cache_clear()
    assert fetch(workspace).status_code == 200
    assert ("torch" in sys.modules) == loaded
