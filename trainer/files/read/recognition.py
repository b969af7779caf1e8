"""What the names and shapes of a file stand for: its family, and the layer of each name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.files.read.family import (
    FamilyGuess,
    Shapes,
    guess_family,
    measure,
    prefer_by_prefix,
    read_stated_family,
)
from trainer.files.read.keys import KeyGroup
from trainer.formats.architectures import list_known_layers, list_layers
from trainer.formats.families import FAMILIES
from trainer.formats.spellings import ParsedName, parse_names
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES, UNetNames


@dataclass(frozen=True)
class Recognition:
    """What a file stands for, as far as that is seen without a base model.

    Attributes:
        guess: The family that it was made for.
        unet_names: The original names of that family's UNet.
        parsed: What each name stands for, without those that follow no grammar.
        public: Whether its layers have the sizes of the public model; else the file is for a model
            of other sizes, about which only names can be judged.
    """

    guess: FamilyGuess
    unet_names: UNetNames
    parsed: dict[str, ParsedName]
    public: bool

    @property
    def layers(self) -> dict[str, str]:
        """Name → layer, of those that its model has, as far as that is known."""
        known = list_known_layers(self.guess.family) if self.public else None
        return {
            name: each.layer
            for name, each in self.parsed.items()
            if known is None or each.layer in known
        }


def recognise(
    groups: Mapping[str, KeyGroup], shapes: Shapes, metadata: Mapping[str, str]
) -> Recognition:
    """Returns what the names of a file stand for.

    Args:
        groups: Its layers, by their name in the file.
        shapes: Of its tensors, by key.
        metadata: Its header.
    """
    guess = guess_family(groups, shapes)
    if guess.unsupported:
        return Recognition(guess, SD_NAMES, {}, public=False)
    sizes = {name: measure(group, shapes) for name, group in groups.items()}
    families = [guess.family] if guess.family else guess.candidates or tuple(FAMILIES)
    parsed = {each: parse_names(groups, FAMILIES[each].unet.names) for each in families}
    fitting = {each: _count_fitting(parsed[each], sizes, each) for each in families}
    most = max(fitting.values())
    measured = sum(size != (0, 0) for size in sizes.values())
    if not measured:  # kinds without a size of their own, which only names can show
        fitting = {each: _count_existing(parsed[each], each) for each in families}
        most = max(fitting.values())
    if not guess.family:
        best = [each for each, count in fitting.items() if count == most > 0]
        guess = _choose(best or guess.candidates, groups, metadata)
    if guess.family:
        names = FAMILIES[guess.family].unet.names
        public = 2 * most > measured or not measured
        return Recognition(guess, names, parse_names(groups, names), public)
    sd, sdxl = parse_names(groups, SD_NAMES), parse_names(groups, SDXL_NAMES)
    names, each = (SD_NAMES, sd) if len(sd) >= len(sdxl) else (SDXL_NAMES, sdxl)
    return Recognition(guess, names, each, public=False)


def _choose(
    fitting: Sequence[str], groups: Mapping[str, KeyGroup], metadata: Mapping[str, str]
) -> FamilyGuess:
    """Returns which of several families it is, by the header or by kohya's prefixes.

    Args:
        fitting: Those that sizes and widths allow; none where they are of no public model.
        groups: The file's layers.
        metadata: Its header.
    """
    if len(fitting) == 1:
        return FamilyGuess(fitting[0], certain=True)
    stated = read_stated_family(metadata)
    if stated and (stated in fitting or not fitting):
        return FamilyGuess(stated, certain=False)
    preferred = prefer_by_prefix(fitting, groups)
    if len(preferred) == 1:
        return FamilyGuess(preferred[0], certain=True)
    return FamilyGuess("", certain=False, candidates=tuple(preferred))


def has_size(size: tuple[int, int], shape: tuple[int, ...]) -> bool:
    """Returns whether rows and elements of a row are those of a weight's shape."""
    return size == (shape[0], math.prod(shape[1:]))


def _count_existing(parsed: Mapping[str, ParsedName], family: str) -> int:
    return sum(each.layer in list_known_layers(family) for each in parsed.values())


def _count_fitting(
    parsed: Mapping[str, ParsedName], sizes: Mapping[str, tuple[int, int]], family: str
) -> int:
    expected = list_layers(family)
    return sum(
        each.layer in expected and has_size(sizes[name], expected[each.layer])
        for name, each in parsed.items()
    )
