"""The finished model as a folder in the layout of diffusers: fp16, small files."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from transformers import CLIPTokenizer

from recipe.errors import RecipeError
from recipe.networks import MODEL_INDEX, SCHEDULER
from recipe.sampling import Networks
from recipe.tokenizer import save_tokenizer
from recipe.train_unet import load_networks
from recipe.train_vae import load_vae
from recipe.training import DeviceContext

MAX_FILE_BYTES = 16 * 1024**2
MAX_TOTAL_BYTES = 45_000_000
_SHARD_SIZE = "15MB"


def write_model(folder: Path, networks: Networks, card: str, sheets: Path) -> None:
    """Writes the model with its card.

    Args:
        folder: Where to; must be empty or not exist.
        networks: What to write.
        card: The text of `README.md`.
        sheets: Folder with the images that the card shows.

    Raises:
        RecipeError: the model is larger than what may ship.
    """
    version = {"_diffusers_version": diffusers.__version__}
    save_tokenizer(networks.tokenizer, folder / "tokenizer")
    for name in ("text_encoder", "unet", "vae"):
        network = getattr(networks, name).cpu().half().to(memory_format=torch.contiguous_format)
        network.save_pretrained(folder / name, max_shard_size=_SHARD_SIZE)
        _forget_place(folder / name / "config.json")
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER | version)
    _write_json(folder / "model_index.json", MODEL_INDEX | version)
    (folder / "README.md").write_text(card, encoding="utf-8")
    for image in sorted(sheets.glob("*.png")):
        shutil.copy(image, folder / image.name)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # they are written for their owner alone
    check_sizes(folder)


def read_model(folder: Path, context: DeviceContext) -> Networks:
    """Returns a finished model, in fp32 on the device.

    Raises:
        RecipeError: the folder holds no complete model.
    """
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        unet, text_encoder = load_networks(folder, context)
        vae = load_vae(folder, context)
    except (OSError, ValueError) as error:
        msg = f"{folder} is no model in the layout of diffusers ({error}). Name another folder."
        raise RecipeError(msg) from error
    return Networks(tokenizer, text_encoder.float(), unet.float(), vae.float())


def check_sizes(folder: Path) -> None:
    """Refuses a model that is too large to ship.

    Raises:
        RecipeError: a file or the whole is over the limit.
    """
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    largest = max(sizes, key=lambda path: sizes[path])
    if sizes[largest] > MAX_FILE_BYTES:
        msg = (
            f"{largest.name} has {sizes[largest]} bytes, over {MAX_FILE_BYTES}. "
            "Make the shards of model_folder.py smaller."
        )
        raise RecipeError(msg)
    total = sum(sizes.values())
    if total > MAX_TOTAL_BYTES:
        msg = (
            f"The model has {total} bytes in all, over {MAX_TOTAL_BYTES}. Make unet.channels, "
            "unet.text_width or vae.channels smaller."
        )
        raise RecipeError(msg)


def deliver(made: Path, out: Path) -> None:
    """Copies the finished folder to where it is wanted, in one move.

    Raises:
        RecipeError: something else is there already.
    """
    if out.exists():
        if _is_same(made, out):
            return
        msg = f"{out} exists and is another model. Move it away, or name another folder with --out."
        raise RecipeError(msg)
    aside = out.with_name(f".{out.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(made, aside)
    aside.rename(out)


def _is_same(made: Path, out: Path) -> bool:
    return all(
        (out / path.relative_to(made)).is_file()
        and (out / path.relative_to(made)).read_bytes() == path.read_bytes()
        for path in made.rglob("*")
        if path.is_file()
    )


def _forget_place(path: Path) -> None:
    """Takes the folder that a network was read from out of its config."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    _write_json(path, config)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(dict(sorted(content.items())), indent=2)
    path.write_text(text + "\n", encoding="utf-8")
