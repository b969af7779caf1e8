"""The stages in their order: what each takes, makes, and hands on."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import CLIPTokenizer

from datasets_tools.files import write_atomically
from recipe.card import write_card
from recipe.composing import Sprites, make_sprites
from recipe.evaluate import Subjects, measure_prompts, measure_vae
from recipe.examples import load_table, make_table, save_table
from recipe.icons import Icon, arrange_concepts, choose_taught, read_icons
from recipe.latents import encode_examples
from recipe.model_folder import deliver, write_model
from recipe.packages import Package, load_package
from recipe.render import load_drawings, load_icons, render_all, save_drawings
from recipe.sampling import Networks
from recipe.settings import Settings
from recipe.sheets import save_sheets
from recipe.speed import measure_speed
from recipe.stages import Result, hash_code, run_stage
from recipe.tokenizer import cut_tokenizer, save_tokenizer, tokenize
from recipe.train_unet import Lessons, gather_lessons, load_networks, train_unet
from recipe.train_vae import load_vae, train_vae
from recipe.training import Machine
from trainer.seeds import derive_seed


@dataclass(frozen=True)
class Build:
    """One run of the recipe.

    Attributes:
        work: Where the stages lie.
        packages: Folder with the packages, or None to fetch them.
        tokenizer: The `tokenizer.json` that is cut.
        settings: The recipe's numbers.
        machine: Where to compute.
    """

    work: Path
    packages: Path | None
    tokenizer: Path
    settings: Settings
    machine: Machine

    @cached_property
    def loaded_packages(self) -> list[Package]:
        """All sets, with their licences checked."""
        data = self.settings.data
        wanted = [(key, True) for key in data.styles]
        wanted += [(key, False) for key in data.measured_styles]
        cache = self.work / "packages"
        return [load_package(key, self.packages, cache, training) for key, training in wanted]

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
            icons = choose_taught(arrange_concepts(icons, data.held_out_share, seed), data.names)
            save_drawings(folder, icons, render_all(icons))

        return run_stage(self.work, "render", ingredients, produce)

    @cached_property
    def worded(self) -> Result:
        """The list of training pictures with their captions."""
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
    def vae(self) -> Result:
        """The trained autoencoder."""
        data, seed = self.settings.data, self.settings.seed
        ingredients = {
            "render": self.rendered.key,
            "styles": data.styles,
            "vae": dataclasses.asdict(self.settings.vae),
            "seed": seed,
            "code": hash_code("recipe.train_vae"),
        }

        def produce(folder: Path) -> None:
            train_vae(self.sprites, self.usable, self.settings.vae, seed, self.machine, folder)

        return run_stage(self.work, "vae", ingredients, produce)

    @cached_property
    def latents(self) -> Result:
        """All training pictures, encoded."""
        ingredients = {
            "captions": self.worded.key,
            "vae": self.vae.key,
            "code": hash_code("recipe.latents"),
        }

        def produce(folder: Path) -> None:
            table = load_table(self.worded.folder)
            vae = load_vae(self.vae.folder, self.machine)
            encode_examples(table, self.sprites, vae, self.machine, folder)

        return run_stage(self.work, "latents", ingredients, produce)

    @cached_property
    def unet(self) -> Result:
        """The trained UNet and text encoder."""
        ingredients = {
            "latents": self.latents.key,
            "captions": self.worded.key,
            "tokenizer": self.cut.key,
            "unet": dataclasses.asdict(self.settings.unet),
            "seed": self.settings.seed,
            "code": hash_code("recipe.train_unet"),
        }

        def produce(folder: Path) -> None:
            settings = self.settings
            lessons, vocabulary = self.gather_lessons()
            train_unet(lessons, vocabulary, settings.unet, settings.seed, self.machine, folder)

        return run_stage(self.work, "unet", ingredients, produce)

    @cached_property
    def refined(self) -> Result:
        """UNet and text encoder after their second round."""
        changes = dataclasses.asdict(self.settings.refine)
        ingredients = {
            "unet": self.unet.key,
            "refine": changes,
            "code": hash_code("recipe.train_unet"),
        }

        def produce(folder: Path) -> None:
            settings = dataclasses.replace(self.settings.unet, **changes)
            seed = derive_seed(self.settings.seed, "second round")
            lessons, vocabulary = self.gather_lessons()
            train_unet(lessons, vocabulary, settings, seed, self.machine, folder, self.unet.folder)

        return run_stage(self.work, "refined", ingredients, produce)

    @cached_property
    def evaluated(self) -> Result:
        """Numbers and contact sheets."""
        ingredients = {
            "render": self.rendered.key,
            "vae": self.vae.key,
            "unet": self.refined.key,
            "evaluation": dataclasses.asdict(self.settings.evaluation),
            "seed": self.settings.seed,
            "code": hash_code("recipe.evaluate") + hash_code("recipe.sheets"),
        }

        def produce(folder: Path) -> None:
            networks = self.load_networks()
            subjects = Subjects(self.icons, self.sprites, self.settings)
            found: dict[str, Any] = {"vae": measure_vae(subjects, networks.vae)}
            print(json.dumps(found, indent=1), flush=True)
            found["prompts"], pictures = measure_prompts(subjects, networks, self.machine)
            print(json.dumps(found["prompts"], indent=1), flush=True)
            np.savez_compressed(folder / "pictures.npz", pictures=pictures)
            save_sheets(folder, subjects, networks, self.machine)
            write_atomically(folder / "measured.json", json.dumps(found, indent=1))

        return run_stage(self.work, "evaluation", ingredients, produce)

    @cached_property
    def finished(self) -> Result:
        """The model in the layout of diffusers, with its card."""
        ingredients = {
            "evaluation": self.evaluated.key,
            "settings": dataclasses.asdict(self.settings),
            "code": hash_code("recipe.model_folder") + hash_code("recipe.card"),
        }

        def produce(folder: Path) -> None:
            measured = json.loads((self.evaluated.folder / "measured.json").read_text("utf-8"))
            card = write_card(self.loaded_packages, self.icons, self.settings, measured)
            write_model(folder / "model", self.load_networks(), card, self.evaluated.folder)

        return run_stage(self.work, "model", ingredients, produce)

    @cached_property
    def icons(self) -> list[Icon]:
        """All drawings' names."""
        return load_icons(self.rendered.folder)

    @cached_property
    def sprites(self) -> Sprites:
        """All drawings, on the device."""
        return make_sprites(load_drawings(self.rendered.folder), self.machine.device)

    @property
    def usable(self) -> Sequence[int]:
        """Indices of the drawings that the VAE may be trained on."""
        styles = self.settings.data.styles
        return [i for i, x in enumerate(self.icons) if x.style in styles and not x.held_out]

    def gather_lessons(self) -> tuple[Lessons, int]:
        """Returns what UNet and text encoder learn from, and the size of the vocabulary."""
        table = load_table(self.worded.folder)
        tokenizer = CLIPTokenizer.from_pretrained(self.cut.folder)
        lessons = gather_lessons(
            self.latents.folder / "latents.npy",
            table,
            tokenize(tokenizer, table.captions),
            tokenize(tokenizer, [""]),
            self.machine.device,
        )
        return lessons, len(tokenizer)

    def load_networks(self) -> Networks:
        """Returns the trained model."""
        unet, text_encoder = load_networks(self.refined.folder, self.machine)
        tokenizer = CLIPTokenizer.from_pretrained(self.cut.folder)
        return Networks(tokenizer, text_encoder, unet, load_vae(self.vae.folder, self.machine))

    def run(self, only: str, out: Path) -> None:
        """Makes what is wanted and everything that it needs.

        Args:
            only: A key of `GOALS`.
            out: Where the finished model goes.
        """
        if only == "speed":
            vocabulary = len(CLIPTokenizer.from_pretrained(self.cut.folder))
            measure_speed(self.sprites, vocabulary, self.settings, self.machine)
            return
        for name in GOALS[only]:
            getattr(self, name)
        if only == "model":
            deliver(self.finished.folder / "model", out)


# What each word of --only makes; the stages before it are made on the way.
GOALS: dict[str, tuple[str, ...]] = {
    "data": ("rendered", "worded", "cut"),
    "vae": ("vae",),
    "unet": ("refined",),
    "evaluation": ("evaluated",),
    "model": ("finished",),
    "speed": (),
}


def _hash_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
