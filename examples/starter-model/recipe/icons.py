"""Which drawings of a set are used, what they are called, and which concepts stay unseen."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recipe.errors import RecipeError
from recipe.packages import SETS, Package
from recipe.words import EVERYDAY, FIRST_CONCEPTS, ILLUSTRATED
from trainer.seeds import derive_seed

# Left out by name: what 128 pixels cannot distinguish (skin tones, families, the hands of a clock,
# the same trade as man, woman and person) and what is writing rather than an image.
LEFT_OUT = re.compile(
    r"""
      skin-tone | tone\d | -(light|medium|dark)$ | -(light|medium|dark)-
    | flag | keycap | button | letter | latin | digit | regional | circled | japanese-symbol
    | ideograph | trade-mark | copyright | registered
    | ^family | ^families | ^kiss-(man|woman|person) | ^couple-with | holding-hands
    | ^(man|woman|men|women)- | facing-right$
    | oclock | -thirty$
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Icon:
    """One drawing of a set.

    Attributes:
        style: A key of `packages.SETS`.
        name: As the set calls it, with hyphens.
        svg: The whole image, on a square.
        synonyms: Other names, with hyphens.
        concept: The same for all drawings, of all sets, of what may be the same thing.
        held_out: Whether no training image may show it.
        captioned: Whether captions name it; one that is neither captioned nor held out is known to
            the VAE alone.
    """

    style: str
    name: str
    svg: str
    synonyms: tuple[str, ...] = ()
    concept: str = ""
    held_out: bool = False
    captioned: bool = True


def read_icons(package: Package) -> list[Icon]:
    """Returns the drawings of a set that are used, by name.

    Raises:
        RecipeError: the set is not in the form of Iconify.
    """
    data = package.icons
    try:
        synonyms = _read_synonyms(data)
        return [
            Icon(package.key, name, _make_svg(icon, data), tuple(synonyms.get(name, ())))
            for name, icon in sorted(data["icons"].items())
            if not icon.get("hidden") and not LEFT_OUT.search(name)
        ]
    except (KeyError, AttributeError, TypeError) as error:
        msg = (
            f"icons.json of {package.key} is not an Iconify set ({error!r}). Fetch the package "
            "again with npm pack."
        )
        raise RecipeError(msg) from error


def arrange_concepts(icons: Sequence[Icon], share: float, seed: int) -> list[Icon]:
    """Returns the icons with concepts, everyday synonyms, and the held-out ones marked.

    Two drawings are of one concept when a name or an alias connects them, over any number of
    steps and in any set; "bear face" and "bear" count as connected. So what is held out under one
    name does not come back under another.

    Args:
        icons: Of all sets, those that are only measured on included.
        share: Of the concepts, to be held out.
        seed: Which; the choice for a concept depends on this and on its name alone.
    """
    concepts = _connect_names(icons)
    first_concepts = {concepts.get(_plain_name(name)) for name in FIRST_CONCEPTS.split()}
    unseen = {
        concept
        for concept in set(concepts.values()) - first_concepts
        if derive_seed(seed, "held out", concept) < share * 2**63
    }
    names = {(icon.style, icon.name) for icon in icons}
    arranged = []
    for icon in icons:
        concept = concepts[_plain_name(icon.name)]
        hidden = concept in unseen
        arranged.append(
            replace(
                icon,
                concept=concept,
                synonyms=_add_everyday_names(icon, names),
                held_out=hidden,
                captioned=not hidden,
            )
        )
    return arranged


def choose_captioned(icons: Sequence[Icon], names: int) -> list[Icon]:
    """Returns all icons, those marked that the UNet is to know.

    First come the names that are prompted for, then those of `ILLUSTRATED`, then those that most
    sets share.

    Args:
        icons: From `arrange_concepts`.
        names: So many names, in all sets together; 0 is every name that is not held out.
    """
    counts = Counter(_plain_name(icon.name) for icon in icons if not icon.held_out)
    liked = [_plain_name(name) for name in (*FIRST_CONCEPTS.split(), *ILLUSTRATED.split())]
    places = {name: -place for place, name in enumerate(reversed(liked))}
    order = sorted(counts, key=lambda name: (places.get(name, 1), -counts[name], name))
    chosen = set(order[: names or len(order)])
    return [
        replace(icon, captioned=not icon.held_out and _plain_name(icon.name) in chosen)
        for icon in icons
    ]


def _read_synonyms(data: dict[str, Any]) -> dict[str, list[str]]:
    """Aliases by the name they stand for; those that mirror or turn a drawing are no synonyms."""
    synonyms: dict[str, list[str]] = {}
    for alias, target in sorted(data.get("aliases", {}).items()):
        if set(target) == {"parent"} and not LEFT_OUT.search(alias):
            synonyms.setdefault(target["parent"], []).append(alias)
    return synonyms


def _make_svg(icon: dict[str, Any], data: dict[str, Any]) -> str:
    left, top, width, height = (
        float(icon.get(side, data.get(side, default)))
        for side, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    edge = max(width, height)
    left, top = left - (edge - width) / 2, top - (edge - height) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{left:g} {top:g} {edge:g} {edge:g}" width="{edge:g}" height="{edge:g}">'
        f"{icon['body']}</svg>"
    )


def _connect_names(icons: Iterable[Icon]) -> dict[str, str]:
    """Returns the concept of each plain name: the first, by the alphabet, of those connected."""
    parents: dict[str, str] = {}

    def find(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    for icon in icons:
        own = _plain_name(icon.name)
        for other in (own, *icon.synonyms, *EVERYDAY.get(icon.name, ())):
            first, second = sorted((find(own), find(_plain_name(other))))
            parents[second] = first
    return {name: find(name) for name in list(parents)}


def _plain_name(name: str) -> str:
    """Without what only some sets write: hyphens, and the word face at the end."""
    return name.removesuffix("-face").replace("-", "").replace(" ", "")


def _add_everyday_names(icon: Icon, names: set[tuple[str, str]]) -> tuple[str, ...]:
    """Aliases and everyday words that no other drawing of the same set is called."""
    aliases = [*icon.synonyms, *(name.replace(" ", "-") for name in EVERYDAY.get(icon.name, ()))]
    short = icon.name.removesuffix("-face")
    # "bear face" is a bear where other sets agree; "anguished face" is no anguished.
    if any((style, short) in names for style, icon_set in SETS.items() if icon_set.phrase):
        aliases.append(short)
    free = (name for name in aliases if (icon.style, name) not in names)
    return tuple(dict.fromkeys(free))
