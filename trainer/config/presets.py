"""Presets: files of settings, and those that are composed of a table's rows.

A composed one is named by its rows: `sdxl-character-12gb`, `pony-style-8gb-careful`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

Tree = dict[str, Any]
STARTER = "starter"  # the kind of the model that comes with the program, whose presets are files
BALANCED = "balanced"  # the care that a name leaves out
UNMEASURED = "common practice, not yet measured by us"
_TABLE = "table.toml"
_SECTIONS = ("base_model", "dataset", "adapter", "objective", "optimizer", "train", "samples")
_ROUND_STEPS = 10


@dataclass(frozen=True)
class Choice:
    """The rows that a preset is composed of.

    Attributes:
        kind: Of base model, a key of `list_kinds`.
        goal: What is learned, a key of `list_goals`.
        memory: GB of the device, one of `list_memories`.
        care: A key of `list_care`.
    """

    kind: str
    goal: str
    memory: int
    care: str = BALANCED

    @property
    def name(self) -> str:
        """The preset's name."""
        if self.kind == STARTER:
            return f"{STARTER}-{'style' if self.goal == 'style' else 'character'}"
        rest = [] if self.care == BALANCED else [self.care]
        return "-".join([self.kind, self.goal, f"{self.memory}gb", *rest])

    @property
    def description(self) -> str:
        """What the preset is for, in a sentence."""
        table = _read_table()
        kind, goal = table["kinds"][self.kind], table["goals"][self.goal]
        care = "" if self.care == BALANCED else f", {table['care'][self.care]['about']}"
        begin = f"{goal['title']} on {kind['title']} with {self.memory} GB{care}"
        return f"{begin}: {UNMEASURED}."


def list_kinds() -> dict[str, str]:
    """Returns the kinds of base models with their titles."""
    return {name: row["title"] for name, row in _read_table()["kinds"].items()}


def list_goals() -> dict[str, str]:
    """Returns the goals with their titles."""
    return {name: row["title"] for name, row in _read_table()["goals"].items()}


def list_care() -> dict[str, str]:
    """Returns the degrees of care with what each means."""
    return {name: row["about"] for name, row in _read_table()["care"].items()}


def list_memories(family: str = "sdxl") -> list[int]:
    """Returns the sizes of memory that there are rows for, in GB."""
    return [int(size) for size in _read_table()["memory"][family]]


def read_kind(kind: str) -> Mapping[str, Any]:
    """Returns the row of a kind of base model."""
    row: Mapping[str, Any] = _read_table()["kinds"][kind]
    return row


def read_memory(family: str, size: int) -> Mapping[str, Any]:
    """Returns the settings that make a family's runs fit into so many GB."""
    settings: Mapping[str, Any] = _read_table()["memory"][family][str(size)]
    return settings


def get_family(kind: str) -> str:
    """Returns which family's models are of a kind, as `FamilySpec.presets` names it."""
    return str(read_kind(kind)["family"])


@cache
def list_choices() -> dict[str, Choice]:
    """Returns what every composed preset is composed of, by its name."""
    # The usual length first, in lists that somebody reads.
    choices = (
        Choice(kind, goal, memory, care)
        for care in sorted(list_care(), key=lambda care: care != BALANCED)
        for kind in list_kinds()
        for goal, memory in product(list_goals(), list_memories(get_family(kind)))
    )
    return {choice.name: choice for choice in choices}


def list_preset_files() -> dict[str, Path]:
    """Returns the presets that are files."""
    folder = Path(str(resources.files("presets")))
    paths = [path for path in sorted(folder.glob("*.toml")) if path.name != _TABLE]
    return {path.stem: path for path in paths}


def list_presets() -> dict[str, str]:
    """Returns the names of all presets with what each is for."""
    described = {}
    for name, path in list_preset_files().items():
        first = path.read_text(encoding="utf-8").splitlines()[0]
        described[name] = first.removeprefix("#").strip() if first.startswith("#") else ""
    return described | {name: choice.description for name, choice in list_choices().items()}


def compose(choice: Choice) -> Tree:
    """Returns the settings of a composed preset."""
    table = _read_table()
    kind = table["kinds"][choice.kind]
    goal = table["kinds"][kind.get("goals_of", choice.kind)]["goals"][choice.goal]
    care = table["care"][choice.care]
    tree: Tree = {}
    for layer in (
        table["goals"][choice.goal].get("settings", {}),
        kind.get("settings", {}),
        goal,
        read_memory(kind["family"], choice.memory),
    ):
        for section in _SECTIONS:
            if section in layer:
                tree.setdefault(section, {}).update(layer[section])
    _set_length(tree, goal["images"] * care["images"])
    _set_rates(tree, care["rate"])
    ordered = (*_SECTIONS, "output")
    return {section: tree[section] for section in ordered if section in tree}


def _set_length(tree: Tree, images: float) -> None:
    """Sets the steps, and what is usual in relation to them."""
    train = tree["train"]
    per_step = train["batch_size"] * train.get("accumulate", 1)
    steps = round(images / per_step / _ROUND_STEPS) * _ROUND_STEPS
    train["steps"] = steps
    tree["optimizer"] |= {"schedule": "cosine", "warmup_steps": steps // 20}
    tree.setdefault("samples", {"every_steps": steps // 10})
    tree["output"] = {"checkpoint_every_steps": steps // 10}


def _set_rates(tree: Tree, factor: float) -> None:
    optimizer, adapter = tree["optimizer"], tree["adapter"]
    # A row of memory may switch the text encoder off; then nothing reads its settings.
    if adapter["text_rank"] == 0:
        optimizer.pop("text_learning_rate", None)
        adapter.pop("text_alpha", None)
    for name in [name for name in optimizer if name.endswith("_learning_rate")]:
        optimizer[name] = float(f"{optimizer[name] * factor:.2g}")


@cache
def _read_table() -> Mapping[str, Any]:
    path = Path(str(resources.files("presets"))) / _TABLE
    return tomllib.loads(path.read_text(encoding="utf-8"))
