"""The presets page: the rows that presets are composed of, and what the others set."""

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from config_page import clean_cell, format_value
from trainer.config import (
    Choice,
    RunConfig,
    layer_config,
    list_care,
    list_goals,
    list_kinds,
    list_memories,
    list_presets,
)
from trainer.config.presets import UNMEASURED, get_family, list_preset_files, read_memory

_INTRO = f"""A preset sets some settings; all others keep their defaults. Most are composed of four
rows, which make up the name: `KIND-GOAL-MEMORY`, and `-quick` or `-careful` at the end where it is
not the usual length. So `sdxl-character-12gb` is a character on SDXL with 12 GB, and
`pony-style-8gb-careful` a careful style on Pony with 8 GB. `lorasmith presets` lists the names, and
with `--base-model FILE` it suggests one and gives the reasons; the Train tab does the same.

The values are {UNMEASURED}. They lie within what is published for
10 to 20 images: in the documentation of diffusers and sd-scripts, the notebooks of kohya-colab, the
presets of OneTrainer and ai-toolkit, and Civitai's form and articles. The memory in a name is a
promise: a test estimates every preset on a full-size model of its family, and fails where the run
with its allowance does not fit."""
_WITHOUT_TEXT = "With 24 GB; less memory may leave out the text encoder, as the next table shows."
_MEMORY = "What makes a run fit. It changes nothing of the above but what is listed."
_LENGTH = (
    "Steps are the images divided by those of a step; a twentieth of them is warm-up, and every "
    "tenth of the run there are samples and a checkpoint."
)
# What a column of the table of kinds shows, by the settings that it is made of.
_LEARNED = (
    ("rank / alpha", ("adapter.rank", "adapter.alpha")),
    ("convolutions", ("adapter.conv_rank", "adapter.conv_alpha")),
    ("text encoder", ("adapter.text_rank", "adapter.text_alpha")),
)
_SHOWN = {
    "optimizer.unet_learning_rate", "optimizer.conv_learning_rate", "optimizer.text_learning_rate",
    "optimizer.warmup_steps", "optimizer.schedule", "train.steps", "train.batch_size",
    "train.accumulate", "train.gradient_checkpointing", "samples.every_steps", "dataset.resolution",
    "output.checkpoint_every_steps", "base_model.quantize",
    *(path for _, paths in _LEARNED for path in paths),
}  # fmt: skip


def render_presets() -> str:
    """Returns how presets are named, what their rows set, and what every file sets."""
    head = ["kind", "goal", "images", *(title for title, _ in _LEARNED)]
    lines = ["# Presets", "", *_INTRO.splitlines(), ""]
    lines += ["## Kinds of base models, and goals", "", _WITHOUT_TEXT, ""]
    lines += _make_table([*head, "learning rates", "other settings"], _list_learned())
    lines += ["## Memory", "", _MEMORY, ""]
    lines += _make_table(["family", "memory", "settings"], _list_memory())
    lines += ["## Care", "", *_make_table(["care", "means"], list_care().items()), _LENGTH, ""]
    return "\n".join([*lines, *_list_files()]).rstrip() + "\n"


def _list_learned() -> Iterable[list[str]]:
    for kind in list_kinds():
        for goal in list_goals():
            choice = Choice(kind, goal, max(list_memories()))
            config = layer_config(choice.name)
            tree, defaults = _flatten(config.model_dump()), _flatten(RunConfig().model_dump())
            train, optimizer = config.train, config.optimizer
            pairs = [_show_pair(tree, paths) for _, paths in _LEARNED]
            rates = f"{optimizer.unet_learning_rate:g}"
            if config.adapter.text_rank:
                rates += f", text encoder {optimizer.text_learning_rate:g}"
            others = [
                f"`{path} = {format_value(value).strip('`')}`"
                for path, value in tree.items()
                if value != defaults[path] and path not in _SHOWN
            ]
            images = train.steps * train.batch_size * train.accumulate
            yield [f"`{kind}`", f"`{goal}`", str(images), *pairs, rates, ", ".join(others)]


def _show_pair(tree: Mapping[str, Any], paths: tuple[str, str]) -> str:
    rank, alpha = (tree[path] for path in paths)
    return f"{rank} / {alpha:g}" if rank else "off"


def _list_memory() -> Iterable[list[str]]:
    for family in dict.fromkeys(get_family(kind) for kind in list_kinds()):
        for size in list_memories(family):
            settings = _flatten(read_memory(family, size))
            shown = [f"`{path} = {format_value(v).strip('`')}`" for path, v in settings.items()]
            yield [f"`{family}`", f"{size} GB", ", ".join(shown)]


def _list_files() -> Iterable[str]:
    defaults, described = _flatten(RunConfig().model_dump()), list_presets()
    for name, path in list_preset_files().items():
        settings = _flatten(tomllib.loads(path.read_text(encoding="utf-8")))
        yield from (f"## {name}", "", clean_cell(described[name]), "")
        yield from _make_table(
            ["setting", "preset", "default"],
            (
                [f"`{setting}`", format_value(value), format_value(defaults[setting])]
                for setting, value in settings.items()
            ),
        )


def _make_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    columns = list(head)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
