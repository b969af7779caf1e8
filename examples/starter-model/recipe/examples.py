"""The list of training images and their captions, as numbers that a batch can be cut from."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipe.captions import SIZE_WORDS, can_be_sized, caption_pair, caption_single
from recipe.colours import COLOURS
from recipe.icons import Icon
from recipe.settings import DataSettings
from trainer.seeds import derive_seed

# In the order in which examples are stored; a batch takes its share of each.
KINDS = ("plain", "coloured", "sized", "pair")
# How the objects lie on the image; see `composing`.
LAYOUTS = ("normal", "large", "small", "pair")

_GROUNDS = list(COLOURS)


@dataclass(frozen=True)
class Example:
    """One image to be composed.

    Attributes:
        kind: One of `KINDS`.
        layout: One of `LAYOUTS`.
        first: Index of the drawing, the left one of a pair.
        second: Index of the right one of a pair, else the same as `first`.
        colour: A key of `colours.COLOURS`.
    """

    kind: str
    layout: str
    first: int
    second: int
    colour: str


@dataclass(frozen=True)
class ExampleTable:
    """All examples as arrays of equal length, grouped by kind, and within it by layout.

    Attributes:
        kinds: Index into `KINDS`, rising, [E].
        layouts: Index into `LAYOUTS`, [E].
        drawings: Left and right drawing, [E, 2].
        grounds: Index into the keys of `colours.COLOURS`, [E].
        wordings: Index into `captions`, [E, captions per example].
        captions: Every caption once.
    """

    kinds: NDArray[np.int32]
    layouts: NDArray[np.int32]
    drawings: NDArray[np.int32]
    grounds: NDArray[np.int32]
    wordings: NDArray[np.int32]
    captions: list[str]

    def count_kinds(self) -> list[int]:
        """Returns how many examples there are of each kind."""
        return [int((self.kinds == kind).sum()) for kind in range(len(KINDS))]


def list_examples(icons: Sequence[Icon], settings: DataSettings, seed: int) -> list[Example]:
    """Returns the training images; held-out and untaught ones are in none of them.

    They are grouped by kind, and within a kind by layout.

    Args:
        icons: All drawings, in the order of their pixels.
        settings: Which styles, how many pairs.
        seed: Chooses colours and pairs.
    """
    usable = [
        index
        for index, icon in enumerate(icons)
        if icon.style in settings.styles and icon.captioned
    ]
    chance = random.Random(derive_seed(seed, "examples"))
    colours = _GROUNDS[1:]
    examples = [Example("plain", "normal", index, index, "white") for index in usable]
    examples += [Example("coloured", "normal", i, i, colour) for i in usable for colour in colours]
    sizable = [index for index in usable if can_be_sized(icons[index])]
    examples += [
        Example("sized", size, index, index, colour)
        for size in SIZE_WORDS
        for index in sizable
        for colour in ("white", chance.choice(colours))
    ]
    examples += _pair_up(icons, usable, settings.pairs, chance)
    return examples


def make_table(icons: Sequence[Icon], settings: DataSettings, seed: int) -> ExampleTable:
    """Returns the examples with their captions.

    Raises:
        ValueError: there is no drawing to train on.
    """
    examples = list_examples(icons, settings, seed)
    if not examples:
        msg = "no drawing is left to train on; the sets are empty or all concepts are held out"
        raise ValueError(msg)
    numbers: dict[str, int] = {}
    wordings = [
        [numbers.setdefault(text, len(numbers)) for text in texts]
        for texts in _word_all(icons, examples, settings.captions_per_example, seed)
    ]
    return ExampleTable(
        np.array([KINDS.index(each.kind) for each in examples], dtype=np.int32),
        np.array([LAYOUTS.index(each.layout) for each in examples], dtype=np.int32),
        np.array([(each.first, each.second) for each in examples], dtype=np.int32),
        np.array([_GROUNDS.index(each.colour) for each in examples], dtype=np.int32),
        np.array(wordings, dtype=np.int32),
        list(numbers),
    )


def save_table(folder: Path, table: ExampleTable) -> None:
    """Writes `examples.npz` and `captions.txt`, one caption a line."""
    arrays = {name: value for name, value in vars(table).items() if name != "captions"}
    np.savez(folder / "examples.npz", **arrays)
    (folder / "captions.txt").write_text("\n".join(table.captions), encoding="utf-8")


def load_table(folder: Path) -> ExampleTable:
    """Returns what `save_table` wrote."""
    captions = (folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    with np.load(folder / "examples.npz") as arrays:
        return ExampleTable(**{name: arrays[name] for name in arrays.files}, captions=captions)


def _pair_up(
    icons: Sequence[Icon], usable: Sequence[int], count: int, chance: random.Random
) -> Iterator[Example]:
    by_style: dict[str, list[int]] = {}
    for index in usable:
        by_style.setdefault(icons[index].style, []).append(index)
    pools = [pool for pool in by_style.values() if len(pool) > 1]
    for number in range(count if pools else 0):
        left, right = chance.sample(pools[number % len(pools)], 2)
        colour = "white" if number % 2 else chance.choice(_GROUNDS[1:])
        yield Example("pair", "pair", left, right, colour)


def _word_all(
    icons: Sequence[Icon], examples: Sequence[Example], count: int, seed: int
) -> Iterator[list[str]]:
    for number, example in enumerate(examples):
        # A generator of its own: one example more does not change the words of the others.
        chance = random.Random(derive_seed(seed, "captions", number))
        left, right = icons[example.first], icons[example.second]
        size = example.layout if example.kind == "sized" else ""
        if example.kind == "pair":
            yield [caption_pair(left, right, example.colour, chance) for _ in range(count)]
        else:
            yield [caption_single(left, size, example.colour, chance) for _ in range(count)]
