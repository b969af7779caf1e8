"""What a run with the settings in the form will learn: images with captions, and its samples."""

from app.core.examples import folder_signature, read_trigger, thumbnail_url, view_tiles
from app.core.workspace import Workspace, WorkspaceError
from app.train import text
from app.train.settings import read_shared
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join
from datasets_tools.captions import add_trigger
from trainer.config import list_new_prompts

LEARNED = ("samples.prompts", "dataset.class_word")
_IMAGES, _PROMPTS = 6, 3


def _render(workspace: Workspace, params: Params) -> Markup:
    try:
        folder = workspace.find_dataset(params.get("dataset", ""))
    except WorkspaceError:
        return Markup("")
    tiles, trigger = view_tiles(folder), read_trigger(folder)
    figures = [
        element(
            "figure",
            element("img", src=thumbnail_url(folder.name, tile.thumbnail), alt="", loading="lazy"),
            element("figcaption", add_trigger(tile.caption, trigger)),
        )
        for tile in tiles[:_IMAGES]
    ]
    prompts = _list_prompts(params, [tile.caption for tile in tiles])
    items = [element("li", add_trigger(prompt, trigger)) for prompt in prompts]
    return join(
        element("h3", text.LEARNED),
        element("div", *figures, class_="learned"),
        element("p", text.LEARNED_PROMPTS, class_="quiet"),
        element("ul", *items, class_="findings"),
    )


def _list_prompts(params: Params, captions: list[str]) -> list[str]:
    """Returns the prompts of the samples, as a run chooses them (`training/sample_requests.py`)."""
    values = read_shared(params.get("learned"), LEARNED)
    own = [line for line in str(values.get("samples.prompts") or "").splitlines() if line.strip()]
    if own:
        return own
    word = str(values.get("dataset.class_word") or "")
    first = next((caption for caption in captions if caption.strip()), "")
    return [*list_new_prompts(word, captions)[:_PROMPTS], *([first] if first else [])]


def _read_version(workspace: Workspace, params: Params) -> object:
    try:
        folder = workspace.find_dataset(params.get("dataset", ""))
    except WorkspaceError:
        return None
    return dict(params), folder_signature(folder)


VIEWS = {"learned": View(_render, _read_version)}
