"""Adapter files with random weights for a base model, and what they change."""

from functools import cache

import torch

from tests.trainer.conftest import load_plain
from trainer.adapters import ADAPTERS, inject
from trainer.export import name_layers, read_adapter_file, write_kohya
from trainer.formats.families import FAMILIES
from trainer.training.layers import list_targets


@cache
def open_family(base):
    """Loads a base model once; nobody changes it."""
    return load_plain(base)


def write_adapter(path, base, *, kind="lora", rank=4, alpha=2.0, seed=0, only="", **metadata):
    """Writes a random adapter on every layer whose name holds `only`; returns the changes."""
    family = open_family(base)
    generator = torch.Generator().manual_seed(seed)
    targets = [t for t in list_targets(family) if only in t.name]
    adapters = inject(targets, lambda target: ADAPTERS[kind](target.layer, rank, alpha, 0.0))
    with torch.no_grad():
        for name, parameter in adapters.named_parameters().items():
            drawn = torch.randn(parameter.shape, generator=generator) * 0.1
            if name.endswith("magnitude"):
                parameter.mul_(1 + 0.2 * drawn)
            else:
                parameter.copy_(drawn)
    names = name_layers(adapters.adapters, family.name, family.unet_names)
    labels = FAMILIES[family.name].labels["epsilon"]
    header = {
        "ss_base_model_version": labels.version,
        "ss_v2": str(family.name == "sd2"),
        "ss_network_module": "networks.lora",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": labels.architecture,
        "modelspec.implementation": labels.implementation,
        "modelspec.prediction_type": "epsilon",
        "modelspec.title": path.stem,
        **metadata,
    }
    write_kohya(path, adapters.modules(), names, header, "fp32")
    changes = adapters.deltas()
    adapters.remove()
    return changes


def read_changes(path, base):
    """Returns what a LoRA file changes, per layer, as the reader for training sees it."""
    family = open_family(base)
    targets = list_targets(family)
    layers = {target.name: target.layer.weight.shape for target in targets}
    file = read_adapter_file(path, layers, family.unet_names, family.name)
    found = {}
    for layer, module in file.modules.items():
        down, up, scale = module.parts()
        found[layer] = (scale * up.flatten(1) @ down.flatten(1)).view(layers[layer])
    return found


def distance(one, other):
    """Returns the largest relative distance between two sets of changes."""
    assert one.keys() == other.keys()
    return max(((one[k] - other[k]).norm() / other[k].norm()).item() for k in one)
