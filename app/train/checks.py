"""What in the settings makes no sense together, shown while somebody sets them."""

from app.core.base_models import view_base_model
from app.core.examples import list_examples, read_trigger
from app.core.run_contents import read_resolution
from app.core.workspace import Workspace, WorkspaceError
from app.train.settings import FORM, read_shared
from app.ui.form import put
from app.ui.fragments import Params, View
from app.ui.markup import Markup, join, note
from trainer.config import CHECKED_SETTINGS, ConfigError, check_settings, layer_config

CHECKED = tuple(path for path in FORM.paths if path in CHECKED_SETTINGS)


def make_checks(workspace: Workspace, params: Params) -> Markup:
    """Returns what is wrong with the settings that the page shares, or a waste in them."""
    values = read_shared(params.get("checks"), CHECKED)
    if not values:
        return Markup("")
    tree = FORM.to_tree(values)
    try:
        folder = workspace.find_dataset(params.get("dataset", ""))
        sizes = [(each.width, each.height) for each in list_examples(folder)]
        trigger = read_trigger(folder)
    except WorkspaceError:
        sizes, trigger = [], ""
    # Word vectors ask for a trigger, which Start reports.
    put(tree, "dataset.trigger", trigger or "word")
    try:
        config = layer_config(settings=tree)
    except ConfigError:
        return Markup("")  # half a number is being typed; Start reports what is wrong
    try:
        problems = check_settings(config, sizes, _read_resolution(workspace, params))
    except ConfigError as error:
        return join(*(note(str(problem), "error") for problem in error.problems))
    return join(*(note(str(problem), "warning") for problem in problems))


def _read_resolution(workspace: Workspace, params: Params) -> int:
    """Returns the chosen base model's own size; 0 where it is not known."""
    view = view_base_model(workspace, params.get("base_model"))
    if view is None or not view.family:
        return 0
    return read_resolution(workspace.list_base_models()[view.name], view.family)


VIEWS = {"checks": View(make_checks)}
