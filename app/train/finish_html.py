"""What a run has come to: before and after, and what can be done with its file."""

from app.core.lora_files import export_url
from app.core.run_contents import sample_url, view_samples
from app.core.run_lists import choose_run, list_run_views
from app.core.workspace import Workspace
from app.train import text
from app.ui.components import make_button, make_link
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element
from trainer.runs.evaluations import read_suggestion

_PRIMARY = "button button-small button-primary"


def _render_finish(workspace: Workspace, params: Params) -> Markup:
    """Returns, of a run that has ended well, before and after, and what can be done with it."""
    view = choose_run(list_run_views(workspace), params.get("run"))
    if view is None or view.state not in {"finished", "stopped"}:
        return Markup("")
    run = workspace.find_run(view.id)
    samples = [cell for _, cells in view_samples(run).rows for cell in cells if cell]
    column = [each for each in samples if each.index == samples[0].index]
    shown = [column[0], column[-1]] if len(column) > 1 else column
    images = [
        element(
            "figure",
            element("img", src=sample_url(view.id, each), alt=each.prompt),
            element("figcaption", text.row_heading(each.step)),
        )
        for each in shown
    ]
    chosen = read_suggestion(run.path)
    line = text.suggestion(chosen.step, chosen.weight) if chosen else text.no_suggestion(view.step)
    file = next(iter(run.list_exports()), None)
    buttons = []
    if file is not None:
        buttons = [
            make_button(text.TRY_IT, key="try", element_id="train-try", class_=_PRIMARY),
            make_link(text.DOWNLOAD, export_url(view.id, file.name), file.name),
            make_button(text.SHARE, key="share", element_id="train-share"),
        ]
    title = element("h3", f"✓ {view.name}" if view.state == "finished" else view.name)
    return element(
        "div",
        element("div", *images, class_="before-after"),
        element("div", title, element("p", line), element("div", *buttons, class_="buttons")),
        class_="finish",
    )


def _read_finish_version(workspace: Workspace, params: Params) -> object:
    view = choose_run(list_run_views(workspace), params.get("run"))
    if view is None:
        return None
    run = workspace.find_run(view.id)
    return (
        view.id,
        view.state,
        view.name,
        view.samples,
        run.list_exports(),
        read_suggestion(run.path),
    )


VIEWS = {"finish": View(_render_finish, _read_finish_version)}
