"""Parts of the page that only show the state of folders: fetched, never pushed.

A fragment is an empty element with the name of a view. One script (`js/fragments.js`) asks once a
second what changed of the fragments that are visible, and puts it into the page. The server
answers 304 where nothing did. Nothing else polls.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr

from app.core.workspace import Workspace
from app.ui.markup import Markup, element
from app.ui.wire import MOUNT

Params = Mapping[str, str]


@dataclass(frozen=True)
class View:
    """What a fragment shows.

    Attributes:
        render: Returns the HTML, for the workspace and the values of the fragment's names.
        version: Returns something cheap whose `repr` changes whenever the HTML would. None compares
            the HTML itself, which is right where it is cheap to make.
    """

    render: Callable[[Workspace, Params], str]
    version: Callable[[Workspace, Params], object] | None = None

    def read_version(self, workspace: Workspace, params: Params) -> str:
        """Returns a short text that changes when the HTML does."""
        look = self.version or self.render
        content = repr(look(workspace, params)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=8).hexdigest()


def fragment(
    view: str,
    *names: str,
    elem_id: str,
    selects: str = "",
    grid: str = "",
    placeholder: Markup | str = "",
    data: bool = False,
    polled: bool = True,
) -> gr.HTML:
    """Returns a fragment, put into the block that is being built.

    In it, a press on an element with `data-key` raises the component's `select` with the element's
    data (its key above all) and the values of the fragment's names; after each new version the
    component's `tick` comes.

    Args:
        view: The view's name.
        names: Values of the page's state that the view depends on, for example "run" (`state.js`).
        elem_id: The component's id.
        selects: A name in the page's state that a press sets to the key, instead of `select`.
        grid: "choose" or "enlarge": arrow keys move among the elements with `data-key`; moving
            chooses, or Enter shows the image large.
        placeholder: Shown until the first answer.
        data: Whether the view is data for the page's scripts: it is read on every tab, not shown.
        polled: False where nothing but the values of its names changes the view.
    """
    value = element(
        "div",
        placeholder,
        class_="fragment",
        data_view=view,
        data_names=" ".join(names) or None,
        data_selects=selects or None,
        data_grid=grid or None,
        data_json=data or None,
        data_still=not polled or None,
    )
    return gr.HTML(
        value, js_on_load=MOUNT, elem_id=elem_id, elem_classes="data-only" if data else None
    )


def fill_fragment(view: str, **values: str) -> Markup:
    """Returns a new value for a fragment's component: the view with values of its own.

    An event that has started a job lets a fragment show it so, in the window that asked for it.
    """
    return element("div", class_="fragment", data_view=view, data_values=json.dumps(values))
