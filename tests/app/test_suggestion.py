"""The Train tab shows what an evaluation suggests, once the run is finished."""

import json

from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.core.run_views import view_run
from app.train.html import VIEWS, make_suggestion
from app.web.media import make_routes
from trainer.runs import append_event


def write_evaluation(run, **suggestion):
    (run.path / "evaluation").mkdir(exist_ok=True)
    Image.new("RGB", (4, 3), "red").save(run.path / "evaluation" / "suggestion.png")
    chosen = {"step": 80, "weight": 0.75, "score": 0.4, "sheet": "evaluation/suggestion.png"}
    data = {
        "version": 1,
        "checkpoints": [{"step": 80, "verdict": "good", "weight": 0.75}],
        "suggestion": chosen | suggestion,
    }
    (run.path / "evaluation.json").write_text(json.dumps(data))


def test_a_finished_run_shows_its_suggestion_and_the_sheet(workspace, run):
    append_event(run.events_path, "ended", reason="finished", message="", step=100)
    progress = VIEWS["progress"]
    assert "suggestion" not in str(progress.render(workspace, {"run": run.id}))
    write_evaluation(run)
    shown = str(progress.render(workspace, {"run": run.id}))
    assert "step 80 at weight 0.75." in shown
    assert f"media/suggestion/{run.id}?v=" in shown


def test_a_run_that_is_not_finished_shows_none(run):
    write_evaluation(run)
    assert make_suggestion(view_run(run), run.path) == ""


def test_the_sheet_is_served_and_nothing_outside_the_workspace(workspace, run, tmp_path):
    media = TestClient(Starlette(routes=make_routes(workspace)))
    assert media.get(f"/media/suggestion/{run.id}").status_code == 404
    write_evaluation(run)
    answer = media.get(f"/media/suggestion/{run.id}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    Image.new("RGB", (4, 3)).save(tmp_path / "secret.png")
    write_evaluation(run, sheet=str(tmp_path / "secret.png"))
    inside = (tmp_path / "secret.png").resolve().is_relative_to(workspace.root.resolve())
    assert not inside
    assert media.get(f"/media/suggestion/{run.id}").status_code == 404
    write_evaluation(run, sheet="log.txt")
    (run.path / "log.txt").write_text("paths")
    assert media.get(f"/media/suggestion/{run.id}").status_code == 404
