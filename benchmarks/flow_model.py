"""The starter model as one that predicts a rectified flow: the base model of the quality row.

Fine-tuned on what the starter model generates itself, so that it has seen no image of the style.
Its target is the starter model's own answer, turned into that of a flow model by algebra: the
average of what it would meet as noise minus image, without the spread, which takes many updates to
average out. Where there is more noise than the starter model knows, it is noise minus image.
"""

import json
import math
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.images import STARTER_MODEL, GenerationSettings, encode, generate_set
from benchmarks.prediction_variants import convert_answers, copy_weights
from trainer.config import BaseModelConfig
from trainer.models import Family, load_family

STEPS = 400
_BATCH = 8
_RATE = 3e-4
_WARMUP = 20
_IMAGE_SEED = 7001  # of no set that is measured
_DENOISING_STEPS = 12
_STYLES = ("", "noto style", "blobby style", "twemoji style", "fluent style", "emojione style")
# How often the image's own caption, its name alone, or nothing is asked for.
_CAPTIONED, _NAMED = 0.5, 0.4
# The noisiest time step of the starter model has 0.94 of noise. Beyond it, it has no answer.
_LAST_SIGMA = 0.93
_CPU = torch.device("cpu")


def make_flow_model(folder: Path, steps: int = STEPS) -> Path:
    """Returns a folder with the starter model as a flow model, made unless it is there already.

    Args:
        folder: Where to write it.
        steps: Updates.
    """
    if (folder / "model_index.json").is_file():
        return folder
    family = load_family(BaseModelConfig(path=str(STARTER_MODEL)), _CPU, torch.float32)
    names = list_names()
    captions = [_caption(name, number) for number, name in enumerate(names)]
    how = GenerationSettings(inference_steps=_DENOISING_STEPS)
    images = generate_set(family, captions, _IMAGE_SEED, how)
    latents = torch.cat([encode(family, [image]) for image in images])
    train_flow(family, latents, list(zip(captions, names, strict=True)), steps)
    _write(family, folder)
    return folder


def list_names() -> list[str]:
    """Returns the names that the starter model's captions have, from its card."""
    card = (STARTER_MODEL / "README.md").read_text(encoding="utf-8")
    match = re.search(r"^Captions name \([^)]*\): (.+)\.$", card, re.MULTILINE)
    if match is None:
        msg = "The starter model's card has no line that begins with “Captions name”."
        raise RuntimeError(msg)
    return [_name_subject(name) for name in match[1].split(", ")]


def train_flow(
    family: Family, latents: Tensor, captions: Sequence[tuple[str, str]], steps: int
) -> None:
    """Trains the whole UNet to answer as a flow model; it changes the family.

    Args:
        family: A base model on the CPU that predicts the noise.
        latents: Clean, scaled latents, [N, C, h, w].
        captions: For each its caption, and its name alone.
        steps: Updates of 8 examples.
    """
    teacher = load_family(BaseModelConfig(path=str(STARTER_MODEL)), _CPU, torch.float32)
    answer = convert_answers(teacher, "flow")
    unet: Any = family.adaptable_models()["unet"]
    unet.requires_grad_(requires_grad=True)
    averaged = copy_weights(unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=_RATE, weight_decay=0.0)
    chance, noise = random.Random(0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        rows = {text: family.encode_captions([text]) for pair in captions for text in pair}
        rows[""] = family.encode_captions([""])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * _scale_rate(step, steps)
        picked = [chance.randrange(len(captions)) for _ in range(_BATCH)]
        texts = [_pick_caption(captions[each], chance.random()) for each in picked]
        conditioning = family.join_conditioning([rows[each] for each in texts])
        clean = latents[picked]
        if chance.random() < 0.5:
            clean = clean.flip(-1)
        # Above 0, where there is no noise to predict.
        sigma = 1 - torch.rand(_BATCH, 1, 1, 1, generator=noise) * 0.999
        added = torch.randn(clean.shape, generator=noise)
        noisy = (1 - sigma) * clean + sigma * added
        timesteps = 1000 * sigma.flatten()
        with torch.no_grad():
            target = answer(noisy, timesteps.clamp(max=1000 * _LAST_SIGMA), conditioning)
        target = torch.where(sigma > _LAST_SIGMA, added - clean, target)
        loss = (family.predict(noisy, timesteps, conditioning) - target).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        _average(averaged, unet, step)
        if step % 50 == 0 or step == steps - 1:
            print(f"flow model, step {step + 1} of {steps}: loss {loss.item():.4f}", flush=True)
    unet.load_state_dict(averaged)
    unet.requires_grad_(requires_grad=False)


def _scale_rate(step: int, steps: int) -> float:
    if step < _WARMUP:
        return (step + 1) / _WARMUP
    return 0.5 + 0.5 * math.cos(math.pi * step / steps)


def _average(averaged: dict[str, Tensor], model: nn.Module, step: int) -> None:
    """Keeps a running average of the weights, over fewer updates at the beginning."""
    share = max(0.01, 1 / (step + 1))
    for name, value in model.state_dict().items():
        averaged[name].lerp_(value, share)


def _pick_caption(pair: tuple[str, str], place: float) -> str:
    if place < _CAPTIONED:
        return pair[0]
    return pair[1] if place < _CAPTIONED + _NAMED else ""


def _caption(name: str, number: int) -> str:
    style = _STYLES[number % len(_STYLES)]
    return f"{name}, {style}" if style else name


def _name_subject(name: str) -> str:
    words = name.replace("-", " ")
    last = words.split()[-1]
    if last.endswith("s") and not last.endswith(("ss", "us", "bus")):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _write(family: Family, folder: Path) -> None:
    """Writes the model with a scheduler that states rectified flow; the index last."""
    leave_out = shutil.ignore_patterns("unet", "captioner", "recipe", "*.png", "*.py", "*.md")
    index = "model_index.json"
    shutil.copytree(
        STARTER_MODEL, folder, dirs_exist_ok=True,
        ignore=lambda path, names: leave_out(path, names) | ({index} & set(names)),
    )  # fmt: skip
    unet: Any = family.adaptable_models()["unet"]
    unet.save_pretrained(folder / "unet")
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}
    place = folder / "scheduler" / "scheduler_config.json"
    place.write_text(json.dumps(scheduler, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(STARTER_MODEL / index, folder / index)
