"""What in the settings makes no sense together, shown while somebody sets them."""

from app.core.base_models import BaseModelView, view_base_model
from app.core.examples import list_examples, read_trigger
from app.core.run_contents import read_resolution
from app.core.workspace import Workspace, WorkspaceError
from app.train.settings import FORM, read_shared
from app.ui.form import put
from app.ui.fragments import Params, View
from app.ui.markup import Markup, join, note
from trainer.config import (
    CHECKED_SETTINGS,
    ConfigError,
    RunConfig,
    check_settings,
    layer_config,
    list_advice,
)
from trainer.formats.families import FAMILIES

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
    view = view_base_model(workspace, params.get("base_model"))
    family = view.family if view and view.public else ""
    try:
        problems = check_settings(config, sizes, _read_resolution(workspace, view), family)
    except ConfigError as error:
        return join(*(note(str(problem), "error") for problem in error.problems))
    lines = [*map(str, problems), *_list_advice(config, view)]
    return join(*(note(line, "warning") for line in lines))


def _list_advice(config: RunConfig, view: BaseModelView | None) -> list[str]:
    """Returns what does not suit the chosen base model, as far as the model is known."""
    if view is None or not view.family:
        return []
    base = config.base_model
    answer = view.answered if base.prediction == "auto" else base.prediction
    prediction = answer or view.prediction
    # As the start decides: a model that states v itself states the end of its schedule, too.
    states_v = view.prediction == "v_prediction" and not view.asks
    usual = bool(answer) and not states_v and FAMILIES[view.family].v_ends_in_noise
    ends = view.zero_snr or usual if base.zero_snr == "auto" else base.zero_snr == "on"
    return list_advice(config, prediction, zero_snr=ends and prediction == "v_prediction")


def _read_resolution(workspace: Workspace, view: BaseModelView | None) -> int:
    """Returns the chosen base model's own size; 0 where it is not known."""
    if view is None or not view.family:
        return 0
    return read_resolution(workspace.list_base_models()[view.name], view.family)


VIEWS = {"checks": View(make_checks)}
