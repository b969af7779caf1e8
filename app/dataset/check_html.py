"""The Dataset tab's pieces of HTML about the check: findings with remedies, progress, cuts."""

from collections.abc import Mapping

from app.core.examples import find_example, folder_signature, has_trash, view_tiles
from app.core.workspace import Workspace
from app.dataset import checking, text
from app.dataset.images import find_folder
from app.ui.components import make_button
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, make_track
from datasets_tools.checks.remedies import LABELS
from datasets_tools.checks.report import CheckReport
from datasets_tools.checks.subject import CheckFinding
from datasets_tools.errors import DatasetError

_FINDINGS_SHOWN = 6
_LEAST_CUT = 1  # per cent


def make_check(report: CheckReport, undo: str) -> Markup:
    """Returns the dataset check.

    Args:
        report: What was found.
        undo: What the last remedy did; "" where none can be undone.
    """
    findings = checking.list_shown(report)
    lines = [_make_finding(report, finding) for finding in findings]
    rest = lines[_FINDINGS_SHOWN:]
    more = Markup("")
    if rest:
        summary = element("summary", text.more_findings(len(rest)))
        more = element("details", summary, element("ul", *rest, class_="findings"))
    back = Markup("")
    if undo:
        back = element("p", make_button(text.undo_change(undo), key="undo-fix"))
    errors, warnings, notes = (
        sum(one.severity == severity for one in findings)
        for severity in ("error", "warning", "note")
    )
    kind = "error" if errors else "warning" if warnings else "good"
    summary_line = text.check_summary(len(report.examples), errors, warnings, notes)
    return element(
        "section",
        element("h3", text.CHECK_HEADING),
        element("p", summary_line, class_=f"note note-{kind}"),
        element("ul", *lines[:_FINDINGS_SHOWN], class_="findings"),
        more,
        back,
        aria_label=text.CHECK_HEADING,
    )


def _make_finding(report: CheckReport, finding: CheckFinding) -> Markup:
    """Returns a finding with what shows its images and what fixes it."""
    keys = checking.list_keys(report, finding)
    buttons = []
    if keys:
        label = text.show_images(len(keys))
        images = " ".join(keys)
        buttons.append(make_button(label, key=keys[0], data_selects="image", data_images=images))
    if finding.remedy in LABELS:
        label = LABELS[finding.remedy].format(text.count_images(len(finding.names)))
        buttons.append(make_button(label, key="fix", data_code=finding.code))
    elif finding.remedy == "suggest":
        buttons.append(make_button(text.SUGGEST, key="suggest", data_press="#captions-suggest"))
    return element(
        "li",
        element("b", f"{text.SEVERITIES[finding.severity]}:"),
        finding.message,
        element("span", *buttons, class_="fixes") if buttons else "",
        data_severity=finding.severity,
        data_code=finding.code,
    )


def make_looking(done: int, total: int) -> Markup:
    """Returns how far looking at the images is."""
    line = text.looking(done, total)
    track = make_track(100 * done // max(total, 1), line)
    return element("div", element("p", line, class_="quiet"), track, data_state="running")


def make_cut(cut: checking.Cut, titles: list[str]) -> Markup:
    """Returns a line about what training cuts off an image; the page's script shows it."""
    line = text.cut_off(cut.percent, cut.size, cut.scale)
    names = element("span", ", ".join(titles), class_="badges") if titles else ""
    edges = " ".join(f"{100 * value:.2f}" for value in cut.box)
    shown = edges if cut.percent >= _LEAST_CUT else None
    return element("p", line, names, class_="quiet", data_cut=shown)


def wait_for_images(views: Mapping[str, View], progress: str) -> dict[str, View]:
    """Returns the views, each empty while many new images are looked at; one shows how far it is.

    Args:
        views: By name.
        progress: The name of the view that shows it.
    """

    def wrap(name: str, view: View) -> View:
        def render(workspace: Workspace, params: Params) -> str:
            at = _read_progress(workspace, params)
            if at is None:
                return view.render(workspace, params)
            return make_looking(*at) if name == progress else Markup("")

        def version(workspace: Workspace, params: Params) -> object:
            at = _read_progress(workspace, params)
            return at or view.read_version(workspace, params)

        return View(render, version)

    return {name: wrap(name, view) for name, view in views.items()}


def _read_progress(workspace: Workspace, params: Params) -> tuple[int, int] | None:
    folder = find_folder(workspace, params.get("dataset"))
    return checking.read_progress(workspace, folder) if folder else None


def _render_check(workspace: Workspace, params: Params) -> Markup:
    folder = find_folder(workspace, params.get("dataset"))
    if folder is None:
        return Markup("")
    undo = checking.find_undo(folder)
    if not view_tiles(folder):
        return make_button(text.undo_change(undo), key="undo-fix") if undo else Markup("")
    try:
        options = checking.read_options(workspace, folder, params)
        return make_check(checking.find_report(workspace, folder, options), undo)
    except DatasetError:  # the last image has gone in this moment
        return Markup("")


def read_check_version(workspace: Workspace, params: Params) -> object:
    """Changes with the images, the captions and the size that is trained at."""
    folder = find_folder(workspace, params.get("dataset"))
    if folder is None:
        return None
    options = checking.read_options(workspace, folder, params)
    undo = checking.find_undo(folder) if has_trash(folder) else ""
    return folder_signature(folder), options, undo


def _render_cut(workspace: Workspace, params: Params) -> Markup:
    folder = find_folder(workspace, params.get("dataset"))
    example = find_example(folder, params.get("image")) if folder else None
    if folder is None or example is None:
        return Markup("")
    options = checking.read_options(workspace, folder, params)
    badges = checking.list_badges(checking.find_report(workspace, folder, options))
    try:
        return make_cut(
            checking.find_cut(example, options), badges.get(params.get("image", ""), [])
        )
    except DatasetError:  # the base model allows no bucket
        return join()


def _read_cut_version(workspace: Workspace, params: Params) -> object:
    return read_check_version(workspace, params), params.get("image")


VIEWS = {
    "dataset-check": View(_render_check, read_check_version),
    "image-cut": View(_render_cut, _read_cut_version),
}
