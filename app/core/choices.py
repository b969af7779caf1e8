"""What may be chosen on the page, and what is chosen first."""

from typing import Any

from app.core.base_models import list_predictions
from app.core.run_views import choose_run, list_run_views
from app.core.workspace import Workspace


def list_choices(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Returns, by the name of a choice, its labels with values, and the value to begin with."""
    datasets = workspace.list_datasets()
    models = list(workspace.list_base_models())
    views = list_run_views(workspace)
    shown = choose_run(views)
    return {
        "dataset": _make_list([(name, name) for name in datasets]),
        "base_model": {
            **_make_list([(name, name) for name in models]),
            "answers": list_predictions(workspace),
        },
        "run": {
            "choices": [(f"{one.name} · {one.id}", one.id) for one in views],
            "first": shown.id if shown else None,
        },
    }


def _make_list(choices: list[tuple[str, str]]) -> dict[str, Any]:
    return {"choices": choices, "first": choices[0][1] if choices else None}
