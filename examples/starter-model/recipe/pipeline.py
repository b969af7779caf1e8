"""The stages in their order: what each takes, makes, and hands on."""

import dataclasses
import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import CLIPTokenizer

from datasets_tools.captioners.starter_files import read_description
from datasets_tools.files import write_atomically
from recipe.captioner_card import finish_captioner, write_captioner_card
from recipe.card import write_card
from recipe.data_stages import Data
from recipe.evaluate import Subjects, measure_prompts, measure_vae
from recipe.examples import load_table
from recipe.latents import encode_examples
from recipe.measure_captioner import measure_captioner, show_captions
from recipe.model_folder import check_sizes, deliver, read_model, write_model
from recipe.render import Pixels
from recipe.sampling import Networks
from recipe.sheets import save_sheets
from recipe.speed import measure_speed
from recipe.stages import Result, hash_code, run_stage
from recipe.tokenizer import tokenize
from recipe.train_captioner import train_captioner
from recipe.train_unet import TrainingSet, gather_training_set, load_networks, train_unet
from recipe.train_vae import load_vae, train_vae
from trainer.seeds import derive_seed


class Build(Data):
    """One run of the recipe, from the data to the finished model and its captioner."""

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
            train_vae(self.sprites, self.usable, self.settings.vae, seed, self.context, folder)

        return run_stage(self.work, "vae", ingredients, produce)

    @cached_property
    def latents(self) -> Result:
        """All training images, encoded."""
        ingredients = {
            "captions": self.worded.key,
            "vae": self.vae.key,
            "code": hash_code("recipe.latents"),
        }

        def produce(folder: Path) -> None:
            table = load_table(self.worded.folder)
            vae = load_vae(self.vae.folder, self.context)
            encode_examples(table, self.sprites, vae, self.context, folder)

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
            training_set, vocabulary = self.gather_training_set()
            train_unet(training_set, vocabulary, settings.unet, settings.seed, self.context, folder)

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
            training_set, vocabulary = self.gather_training_set()
            train_unet(
                training_set, vocabulary, settings, seed, self.context, folder, self.unet.folder
            )

        return run_stage(self.work, "refined", ingredients, produce)

    @cached_property
    def named(self) -> Result:
        """The network that names the subject."""
        settings, seed = self.settings, self.settings.seed
        ingredients = {
            "render": self.rendered.key,
            "styles": settings.data.styles,
            # The threshold is set after the training.
            "captioner": dataclasses.asdict(settings.captioner) | {"threshold": None},
            "seed": seed,
            "code": hash_code("recipe.train_captioner"),
        }

        def produce(folder: Path) -> None:
            train_captioner(self.icons, self.sprites, settings, self.context, folder)

        return run_stage(self.work, "captioner", ingredients, produce)

    @cached_property
    def captioner(self) -> Result:
        """The captioner, measured, with its card."""
        settings = self.settings
        ingredients = {
            "captioner": self.named.key,
            "settings": dataclasses.asdict(settings.captioner),
            "code": hash_code("recipe.measure_captioner") + hash_code("recipe.captioner_card"),
        }

        def produce(folder: Path) -> None:
            made = folder / "captioner"
            finish_captioner(self.named.folder, made, settings.captioner.threshold)
            measured = measure_captioner(self.subjects, made)
            print(json.dumps(measured, indent=1), flush=True)
            examples = show_captions(self.subjects, made)
            labels = len(read_description(made).labels)
            card = write_captioner_card(self.loaded_packages, settings, labels, measured, examples)
            write_atomically(made / "README.md", card)

        return run_stage(self.work, "captioned", ingredients, produce)

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
            measured, images = self.measure(networks)
            np.savez_compressed(folder / "images.npz", images=images)
            save_sheets(folder, self.subjects, networks, self.context)
            write_atomically(folder / "measured.json", json.dumps(measured, indent=1))

        return run_stage(self.work, "evaluation", ingredients, produce)

    @cached_property
    def finished(self) -> Result:
        """The model in the layout of diffusers, with its card."""
        ingredients = {
            "evaluation": self.evaluated.key,
            "captioner": self.captioner.key,
            "settings": dataclasses.asdict(self.settings),
            "code": hash_code("recipe.model_folder") + hash_code("recipe.card"),
        }

        def produce(folder: Path) -> None:
            measured = json.loads((self.evaluated.folder / "measured.json").read_text("utf-8"))
            card = write_card(self.loaded_packages, self.icons, self.settings, measured)
            write_model(folder / "model", self.load_networks(), card, self.evaluated.folder)
            shutil.copytree(self.captioner.folder / "captioner", folder / "model" / "captioner")
            check_sizes(folder / "model")

        return run_stage(self.work, "model", ingredients, produce)

    @cached_property
    def subjects(self) -> Subjects:
        """What a model is measured on."""
        return Subjects(self.icons, self.sprites, self.settings)

    def gather_training_set(self) -> tuple[TrainingSet, int]:
        """Returns what UNet and text encoder learn from, and the size of the vocabulary."""
        table = load_table(self.worded.folder)
        tokenizer = CLIPTokenizer.from_pretrained(self.cut.folder)
        training_set = gather_training_set(
            self.latents.folder / "latents.npy",
            table,
            tokenize(tokenizer, table.captions),
            tokenize(tokenizer, [""]),
            self.context.device,
        )
        return training_set, len(tokenizer)

    def load_networks(self) -> Networks:
        """Returns the trained model."""
        unet, text_encoder = load_networks(self.refined.folder, self.context)
        tokenizer = CLIPTokenizer.from_pretrained(self.cut.folder)
        return Networks(tokenizer, text_encoder, unet, load_vae(self.vae.folder, self.context))

    def measure(self, networks: Networks) -> tuple[dict[str, Any], Pixels]:
        """Prints and returns the numbers of the model card, and the images that were judged."""
        measured: dict[str, Any] = {"vae": measure_vae(self.subjects, networks.vae)}
        print(json.dumps(measured, indent=1), flush=True)
        measured["prompts"], images = measure_prompts(self.subjects, networks, self.context)
        print(json.dumps(measured["prompts"], indent=1), flush=True)
        return measured, images

    def measure_folder(self, folder: Path) -> None:
        """Prints the numbers of a finished model, which this recipe's preset has made.

        Raises:
            RecipeError: the folder holds no model.
        """
        self.measure(read_model(folder, self.context))

    def run(self, only: str, out: Path) -> None:
        """Makes what is wanted and everything that it needs.

        Args:
            only: A key of `GOALS`.
            out: Where the finished model goes.
        """
        if only == "speed":
            vocabulary = len(CLIPTokenizer.from_pretrained(self.cut.folder))
            measure_speed(self.sprites, vocabulary, self.settings, self.context)
            return
        for name in GOALS[only]:
            getattr(self, name)
        if only == "model":
            deliver(self.finished.folder / "model", out)
        if only == "captioner":
            deliver(self.captioner.folder / "captioner", out)


# What each word of --only makes; the stages before it are made on the way.
GOALS: dict[str, tuple[str, ...]] = {
    "data": ("rendered", "worded", "cut"),
    "vae": ("vae",),
    "unet": ("refined",),
    "captioner": ("captioner",),
    "evaluation": ("evaluated",),
    "model": ("finished",),
    "speed": (),
}
