"""The stages before any training: fetched, rendered, worded, and the tokenizer."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recipe.composing import Sprites, make_sprites
from recipe.examples import make_table, save_table
from recipe.icons import Icon, arrange_concepts, choose_captioned, read_icons
from recipe.packages import Package, load_package
from recipe.render import load_drawings, load_icons, render_all, save_drawings
from recipe.settings import Settings
from recipe.stages import Result, hash_code, run_stage
from recipe.tokenizer import cut_tokenizer, save_tokenizer
from recipe.training import DeviceContext


@dataclass(frozen=True)
class Data:
    """The stages before any training: drawings, captions, tokenizer.

    Attributes:
        work: Where the stages lie.
        packages: Folder with the packages, or None to fetch them.
        tokenizer: The `tokenizer.json` that is cut.
        settings: The recipe's numbers.
        context: Where to compute.
    """

    work: Path
    packages: Path | None
    tokenizer: Path
    settings: Settings
    context: DeviceContext

    @cached_property
    def loaded_packages(self) -> list[Package]:
        """All sets, with their licences checked."""
        data = self.settings.data
        packages = [(key, True) for key in data.styles]
        packages += [(key, False) for key in data.measured_styles]
        cache = self.work / "packages"
        return [load_package(key, self.packages, cache, training) for key, training in packages]

    @cached_property
    def rendered(self) -> Result:
        """Drawings of all sets, and which concepts are held out."""
        data, seed = self.settings.data, self.settings.seed
        ingredients = {
            "packages": {each.key: _hash_json(each.icons) for each in self.loaded_packages},
            "held_out_share": data.held_out_share,
            "names": data.names,
            "seed": seed,
            "code": hash_code("recipe.icons") + hash_code("recipe.render"),
        }

        def produce(folder: Path) -> None:
            icons = [icon for package in self.loaded_packages for icon in read_icons(package)]
            icons = choose_captioned(arrange_concepts(icons, data.held_out_share, seed), data.names)
            save_drawings(folder, icons, render_all(icons))

        return run_stage(self.work, "render", ingredients, produce)

    @cached_property
    def worded(self) -> Result:
        """The list of training images with their captions."""
        ingredients = {
            "render": self.rendered.key,
            "data": dataclasses.asdict(self.settings.data),
            "seed": self.settings.seed,
            "code": hash_code("recipe.examples"),
        }

        def produce(folder: Path) -> None:
            save_table(folder, make_table(self.icons, self.settings.data, self.settings.seed))

        return run_stage(self.work, "captions", ingredients, produce)

    @cached_property
    def cut(self) -> Result:
        """The tokenizer."""
        merges = self.settings.data.merges
        text = cut_tokenizer(self.tokenizer, merges).backend_tokenizer.to_str()
        ingredients = {
            "vocabulary": hashlib.sha256(text.encode()).hexdigest(),
            "code": hash_code("recipe.tokenizer"),
        }

        def produce(folder: Path) -> None:
            save_tokenizer(cut_tokenizer(self.tokenizer, merges), folder)

        return run_stage(self.work, "tokenizer", ingredients, produce)

    @cached_property
    def icons(self) -> list[Icon]:
        """All drawings' names."""
        return load_icons(self.rendered.folder)

    @cached_property
    def sprites(self) -> Sprites:
        """All drawings, on the device."""
        return make_sprites(load_drawings(self.rendered.folder), self.context.device)

    @property
    def usable(self) -> Sequence[int]:
        """Indices of the drawings that the VAE may be trained on."""
        styles = self.settings.data.styles
        return [i for i, x in enumerate(self.icons) if x.style in styles and not x.held_out]


def _hash_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
