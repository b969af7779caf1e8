"""Adapters on a base model: new ones from a config, trained ones from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from datasets_tools.disk import rename
from datasets_tools.files import explain_os_error, write_atomically
from trainer.adapters import (
    ADAPTERS,
    AdaLoRA,
    AdapterSet,
    BudgetPlan,
    DoRA,
    MaxNorm,
    RankAllocator,
    Rule,
    Target,
    inject,
    restore_adapter,
)
from trainer.adapters.base import Adapter, shape_of
from trainer.config import AdapterConfig, RunConfig, read_config
from trainer.export import (
    AdapterFile,
    BaseLayers,
    ExportError,
    FileModule,
    explain_misfit,
    read_adapter_file,
)
from trainer.files.read.keys import WEIGHT_KINDS
from trainer.files.read.kinds import name_kind
from trainer.models import Family
from trainer.runs import RunError
from trainer.seeds import derive_seed
from trainer.training.checkpoint import read_weights
from trainer.training.layers import choose_layers, list_file_targets, list_targets, plan_layers
from trainer.training.trigger_embedding import (
    add_trigger_embedding,
    load_bundled_embeddings,
    load_trigger_embedding,
)

# Hidden, because it is no export of the run; the file in it has its own name, for messages.
_START_FOLDER = ".start"
_FORMER_START_FILE = ".start.safetensors"
# What a kind wants to know beyond rank, alpha and dropout.
_OPTIONS: dict[str, Callable[[AdapterConfig], dict[str, Any]]] = {
    "dora": lambda config: {"axis": config.dora_axis},
    "lokr": lambda config: {"factor": config.lokr_factor},
}


def attach_new(
    family: Family, config: AdapterConfig, seed: int, device: torch.device
) -> AdapterSet:
    """Puts fresh adapters on every layer that the config names; the model's output stays equal.

    Raises:
        RunError: a layer that is asked for is not there, or cannot take the kind or the rank.
    """
    targets = list_targets(family)
    planned = {each.target.name: each for each in plan_layers(targets, family, config)}
    options = _OPTIONS.get(config.kind, lambda _: {})(config)

    def build(target: Target) -> Adapter:
        plan = planned[target.name]
        try:
            adapter = ADAPTERS[config.kind](target.layer, plan.rank, plan.alpha, **options)
        except ValueError as error:
            msg = (
                f"{target.name} cannot carry adapter.kind = {config.kind}: {error}. Leave such "
                "layers out, with an entry of rank 0 in adapter.blocks."
            )
            raise RunError(msg) from error
        # Seeded by name: the start of a layer does not depend on which others are adapted.
        adapter.reset(torch.Generator().manual_seed(derive_seed(seed, "adapter", target.name)))
        adapter.set_dropout(config.dropout, config.rank_dropout, config.module_dropout)
        return adapter

    adapters = inject((each.target for each in planned.values()), build)
    adapters.unite(torch.Generator().manual_seed(derive_seed(seed, "adapter")))
    adapters.to(device)
    return adapters


def make_rules(adapters: AdapterSet, config: RunConfig) -> list[Rule]:
    """Returns what a training of these adapters keeps beside following the gradient.

    Raises:
        RunError: a limit is asked for that the file's adapters, which the run starts from, have no
            way to keep.
    """
    rules: list[Rule] = []
    ranked = {name: a for name, a in adapters.adapters.items() if isinstance(a, AdaLoRA)}
    if ranked:
        settings, steps = config.adapter.adalora, config.train.steps
        plan = BudgetPlan(
            steps,
            warmup_steps=round(steps * settings.warmup_share),
            final_steps=round(steps * settings.final_share),
            every_steps=settings.every_steps,
            kept_share=settings.kept_share,
            orthogonality=settings.orthogonality,
        )
        rules.append(RankAllocator(ranked, plan))
    if config.adapter.max_norm:
        if any(isinstance(adapter, DoRA) for adapter in adapters.adapters.values()):
            msg = (
                "adapter.max_norm is set, and the file to start from holds DoRA, whose change "
                "cannot be scaled down. Set it to 0."
            )
            raise RunError(msg)
        rules.append(MaxNorm(list(adapters.adapters.values()), config.adapter.max_norm))
    return rules


def attach_file(family: Family, path: Path, device: torch.device) -> AdapterSet:
    """Puts the adapters of a file on a base model, of whatever kind; several files add up.

    Raises:
        ExportError: the file is damaged or was made for another model.
    """
    targets = {target.name: target for target in list_file_targets(family)}
    file = _read(family, path, targets)
    adapters = _restore(targets, file, family.name, device)
    for adapter in adapters.adapters.values():
        adapter.requires_grad_(requires_grad=False)
    adapters.train(mode=False)
    try:
        adapters.word = load_trigger_embedding(family, path, device) or load_bundled_embeddings(
            family, file, device
        )
    except ExportError:
        adapters.remove()
        raise
    return adapters


def attach_for_training(
    family: Family, path: Path, config: AdapterConfig, device: torch.device
) -> AdapterSet:
    """Puts the adapters of a file on a base model as the start of a training.

    Kind, layers, ranks and alphas are those of the file, so that training starts from its exact
    effect; of the config only dropout and the learning rates' factors are taken.

    Raises:
        ExportError: the file is damaged, was made for another model, or cannot be trained.
        RunError: a pattern of `adapter.blocks` fits none of its layers.
    """
    targets = {target.name: target for target in list_file_targets(family)}
    trainable = {target.name: target for target in list_targets(family)}
    file = _read(family, path, targets)
    for layer, module in file.modules.items():
        if layer not in trainable:
            msg = (
                f"{path.name} changes {layer}, which is not trained because not every program "
                "reads it. Choose a file without it."
            )
            raise ExportError(msg)
        if module.kind == "full" or module.kind in WEIGHT_KINDS:
            what = "a full difference" if module.kind == "full" else name_kind(module.kind)
            msg = (
                f"{path.name} holds {layer} as {what}, which cannot be trained on. Choose a "
                "LoRA, LoHa, LoKr or DoRA file."
            )
            raise ExportError(msg)
        if module.alpha == 0:
            msg = (
                f"{path.name} gives {layer} the alpha 0, so that it has no effect and cannot "
                "learn. Choose another file."
            )
            raise ExportError(msg)
    whole = config.model_copy(update={"layers": "all"})
    own = choose_layers([trainable[layer] for layer in file.modules], family, whole)
    adapters = _restore({t.name: t for t in own}, file, family.name, device)
    for adapter in adapters.adapters.values():
        adapter.set_dropout(config.dropout, config.rank_dropout, config.module_dropout)
    return adapters


def attach_adapters(
    family: Family, config: AdapterConfig, seed: int, device: torch.device
) -> AdapterSet:
    """Puts on what a run trains: fresh adapters, or those of the file that it starts from.

    Raises:
        ExportError: that file is missing, damaged or was made for another model.
    """
    if config.start_from:
        return attach_for_training(family, Path(config.start_from), config, device)
    return attach_new(family, config, seed, device)


def keep_start(run_path: Path, config: AdapterConfig) -> AdapterConfig:
    """Returns the config with the run's own copy of the file that it starts from.

    A run that is continued a week later must not depend on a file that may be gone by then.

    Raises:
        ExportError: the file is missing or cannot be copied.
    """
    if not config.start_from:
        return config
    copy = run_path / _START_FOLDER / Path(config.start_from).name
    former = run_path / _FORMER_START_FILE
    if not copy.is_file():
        try:
            copy.parent.mkdir(exist_ok=True)
            if former.is_file():
                rename(former, copy)
            else:
                write_atomically(copy, Path(config.start_from).read_bytes())
        except OSError as error:
            msg = (
                f"The file to start from, {config.start_from}, cannot be read: "
                f"{explain_os_error(error)} Set adapter.start_from to a LoRA file, or to nothing."
            )
            raise ExportError(msg) from error
    return config.model_copy(update={"start_from": str(copy)})


def attach_checkpoint(family: Family, folder: Path, device: torch.device) -> AdapterSet:
    """Puts the adapters of a run's checkpoint on a base model, as its samples see them.

    Raises:
        RunError: the checkpoint is damaged or does not fit this base model.
        ConfigError: the run's config is.
        ExportError: the file that the run started from is.
    """
    config = read_config(folder.parent.parent / "config.toml")
    weights = read_weights(folder)
    adapter = keep_start(folder.parent.parent, config.adapter)
    adapters = attach_adapters(family, adapter, config.train.seed, device)
    adapters.word = add_trigger_embedding(family, config, device)
    try:
        adapters.load_state(weights)
    except ValueError as error:
        adapters.remove()
        msg = f"The checkpoint {folder.name} does not fit this base model: {error}."
        raise RunError(msg) from error
    adapters.train(mode=False)
    return adapters


def describe_layers(family: Family) -> BaseLayers:
    """Returns the layers of a base model by which a file made for it is judged."""
    targets = list_targets(family)
    shapes = {target.name: shape_of(target.layer) for target in targets}
    return BaseLayers(shapes, family.unet_names)


def make_rebuild(adapters: AdapterSet) -> Callable[[str, FileModule], torch.Tensor]:
    """Returns what makes the exact weight difference of a layer from a file, for the proof."""

    def rebuild(layer: str, module: FileModule) -> torch.Tensor:
        target = adapters.targets[layer]
        with torch.no_grad():
            return restore_adapter(target.layer, module.tensors, module.alpha).delta().cpu()

    return rebuild


def _read(family: Family, path: Path, targets: dict[str, Target]) -> AdapterFile:
    return read_adapter_file(path, targets, family.unet_names, family.name)


def _restore(
    targets: dict[str, Target], file: AdapterFile, family: str, device: torch.device
) -> AdapterSet:
    """Attaches a file's adapters to their layers; one error for all that do not fit."""
    built: dict[str, Adapter] = {}
    faults: list[str] = []
    for layer, module in file.modules.items():
        try:
            adapter = restore_adapter(targets[layer].layer, module.tensors, module.alpha)
        except ValueError as error:
            faults.append(f"{layer}: {error}")
            continue
        built[layer] = adapter
    if faults:
        detail = f"{len(faults)} of {len(file.modules)} layers do not fit, first {faults[0]}."
        raise ExportError(explain_misfit(file.path, file.guess, family, detail))
    adapters = inject(targets.values(), lambda target: built.get(target.name))
    adapters.to(device)
    return adapters
