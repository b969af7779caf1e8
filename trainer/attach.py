"""Adapters on a base model: new ones from a config, trained ones from a file."""

from pathlib import Path

import torch

from trainer.adapters import ADAPTERS, AdapterSet, LoRA, Target, find_targets, inject
from trainer.adapters.base import Adapter
from trainer.config import AdapterConfig, read_config
from trainer.export import ExportError, read_lora
from trainer.models import Family
from trainer.runs import RunError
from trainer.seeds import derive_seed
from trainer.state import read_weights


def attach_new(
    family: Family, config: AdapterConfig, seed: int, device: torch.device
) -> AdapterSet:
    """Puts fresh adapters on every layer that the config names; the model's output stays equal."""

    def build(target: Target) -> Adapter | None:
        rank, alpha = _size_of(target, config)
        if rank == 0:
            return None
        adapter = ADAPTERS[config.kind](target.layer, rank, alpha, config.dropout)
        # Seeded by name: the start of a layer does not depend on which others are adapted.
        adapter.reset(torch.Generator().manual_seed(derive_seed(seed, "adapter", target.name)))
        return adapter

    adapters = inject(find_targets(family.adaptable_models()), build)
    adapters.to(device)
    return adapters


def attach_file(family: Family, path: Path, device: torch.device) -> AdapterSet:
    """Puts the adapters of a LoRA file on a base model.

    Raises:
        ExportError: the file is damaged or was made for another model.
    """
    targets = {target.name: target for target in find_targets(family.adaptable_models())}
    factors = read_lora(path, targets).factors

    def build(target: Target) -> Adapter | None:
        if target.name not in factors:
            return None
        down, up, scale = factors[target.name]
        adapter = LoRA(target.layer, down.shape[0], scale * down.shape[0])
        _check_shape(path, target, adapter, down, up)
        with torch.no_grad():
            adapter.down.copy_(down)
            adapter.up.copy_(up)
        return adapter.requires_grad_(requires_grad=False)

    adapters = inject(targets.values(), build)
    adapters.to(device)
    adapters.train(mode=False)
    return adapters


def attach_checkpoint(family: Family, folder: Path, device: torch.device) -> AdapterSet:
    """Puts the adapters of a run's checkpoint on a base model, as its samples see them.

    Raises:
        RunError: the checkpoint is damaged or does not fit this base model.
        ConfigError: the run's config is.
    """
    config = read_config(folder.parent.parent / "config.toml")
    weights = read_weights(folder)
    adapters = attach_new(family, config.adapter, config.train.seed, device)
    try:
        adapters.load_state(weights)
    except ValueError as error:
        adapters.remove()
        msg = f"The checkpoint {folder.name} does not fit this base model: {error}."
        raise RunError(msg) from error
    adapters.train(mode=False)
    return adapters


def _size_of(target: Target, config: AdapterConfig) -> tuple[int, float]:
    if target.part == "text":
        return config.text_rank, config.text_alpha
    if target.part == "conv" and config.conv_rank == 0:
        return 0, 1.0
    if target.wide:
        return config.conv_rank, config.conv_alpha
    return config.rank, config.alpha


def _check_shape(
    path: Path, target: Target, adapter: LoRA, down: torch.Tensor, up: torch.Tensor
) -> None:
    if down.shape != adapter.down.shape or up.shape != adapter.up.shape:
        msg = (
            f"{path.name} does not fit this base model: {target.name} has the shape "
            f"{tuple(target.layer.weight.shape)}, the file's is {tuple(up.shape)} by "
            f"{tuple(down.shape)}."
        )
        raise ExportError(msg)
