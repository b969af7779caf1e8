"""The file that a run starts from, looked at before the start by its header alone."""

from pathlib import Path

from trainer.config import RunConfig
from trainer.export import name_layers
from trainer.files.read import OpenFile, open_adapter_file, open_header
from trainer.formats.architectures import list_known_layers
from trainer.formats.families import FAMILIES
from trainer.formats.invoke import explain_as_invoke, name_outcome, recognise_as_invoke
from trainer.models import BaseModelInfo


def check_start_file(config: RunConfig, info: BaseModelInfo) -> list[str]:
    """Returns a warning where InvokeAI will not recognise the run's file; it is like the one here.

    Args:
        config: The run's settings.
        info: Its base model.

    Raises:
        ExportError: the file is missing, damaged, or for another base model.
    """
    if not config.adapter.start_from:
        return []
    path, spec = Path(config.adapter.start_from), FAMILIES[info.family]
    open_header(path)
    if not info.is_public:  # which layers it has is seen when it is loaded
        return []
    layers = list_known_layers(info.family)
    with open_adapter_file(path, layers, spec.unet.names, info.family) as file:
        if config.output.formats == "peft":
            return []
        recognition = recognise_as_invoke(_name_tensors(file, info.family))
    if recognition.base == info.family:
        return []
    message = (
        f"Warning: adapter.start_from has only layers with which the file will not work in "
        f"InvokeAI ({name_outcome(recognition)}). {explain_as_invoke(recognition, spec)} Other "
        "programs read it. The run trains the layers of that file and no others, so for InvokeAI "
        "start anew with more of them."
    )
    return [message]


def _name_tensors(file: OpenFile, family: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the tensors that the run's file will have, in the order of its keys."""
    names = name_layers(file.groups, family, FAMILIES[family].unet.names)
    shapes = {
        f"{names[layer]}.{part}": file.shapes[key]
        for layer, group in file.groups.items()
        for part, key in group.keys.items()
    }
    return dict(sorted(shapes.items()))
