"""The folders of a dataset with their repeats: how often each is shown, and changing that."""

from app.core.examples import find_suggesting, list_examples
from app.core.text import STILL_SUGGESTING
from app.core.workspace import Workspace, WorkspaceError
from app.dataset import text
from app.dataset.images import CAPTION_LOCK, find_folder
from app.ui.components import make_button
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element
from datasets_tools.errors import DatasetError
from datasets_tools.groups import Share, describe_share, measure_shares, set_repeats


def view_shares(workspace: Workspace, dataset: str | None) -> list[Share]:
    """Returns how often each folder of a dataset is shown; none for a dataset of one folder."""
    folder = find_folder(workspace, dataset)
    examples = list_examples(folder) if folder else []
    shares = measure_shares([(example.group, example.repeats) for example in examples])
    return shares if len(shares) > 1 else []


def make_folders(shares: list[Share]) -> Markup:
    """Returns the folders of a dataset, each with buttons that change its repeats."""
    if not shares:
        return Markup("")
    return element(
        "section",
        element("h3", text.FOLDERS),
        element("p", text.FOLDERS_INFO, class_="quiet"),
        element("ul", *map(_make_row, shares), class_="findings"),
        aria_label=text.FOLDERS,
    )


def change_repeats(workspace: Workspace, dataset: str, key: str) -> None:
    """Gives a folder of a dataset other repeats.

    Args:
        workspace: Where datasets lie.
        dataset: The dataset.
        key: What a button of `make_folders` stands for.

    Raises:
        WorkspaceError: there is no such dataset or folder, or it cannot be renamed now.
    """
    folder = workspace.find_dataset(dataset)
    if find_suggesting(workspace, dataset).state == "running":
        raise WorkspaceError(STILL_SUGGESTING)
    repeats, _, group = key.partition(":")
    try:
        with CAPTION_LOCK:
            set_repeats(folder, group, int(repeats) if repeats.isdecimal() else 0)
    except DatasetError as error:
        raise WorkspaceError(str(error)) from error


def _make_row(share: Share) -> Markup:
    line = element("span", describe_share(share))
    if not share.group:
        return element("li", line)
    steps = [
        make_button(
            sign,
            key=f"{number}:{share.group}",
            class_="press press-second",
            disabled=number < 1,
            aria_label=text.show_more_often(share.group, number),
        )
        for sign, number in (("−", share.repeats - 1), ("+", share.repeats + 1))
    ]
    return element("li", line, " ", *steps)


def _render(workspace: Workspace, params: Params) -> Markup:
    return make_folders(view_shares(workspace, params.get("dataset")))


def _read_version(workspace: Workspace, params: Params) -> object:
    return view_shares(workspace, params.get("dataset"))


VIEWS = {"dataset-folders": View(_render, _read_version)}
