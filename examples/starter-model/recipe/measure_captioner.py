"""Measuring the captioner on sets that it was not trained on, and on unknown things."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from datasets_tools.captioners.options import CaptionerOptions
from datasets_tools.captioners.starter import (
    load_starter,
    name_ground,
    prepare_image,
    read_network,
)
from datasets_tools.captioners.starter_files import read_description
from datasets_tools.captioners.starter_network import SIZE, recognise
from recipe.colours import COLOURS
from recipe.composing import compose, compose_on_white, make_palette, to_bytes
from recipe.evaluate import Subjects
from recipe.train_captioner import name_labels
from trainer.seeds import derive_seed

_CHUNK = 100
_SHOWN = 24  # drawings for the card


def measure_captioner(subjects: Subjects, folder: Path) -> dict[str, dict[str, float]]:
    """Returns how often the captioner is right, by set that it has never seen.

    Of each set: "images"; "top1" and "top5", the share whose right label is the most probable,
    or among five; "captioned", the share with a caption; "right", the share of
    these that is right. "unknown" are the things that it has no label for, of all sets, where
    any caption is wrong; "ground" are coloured backgrounds behind unseen drawings.

    Args:
        subjects: All drawings.
        folder: The captioner.
    """
    description, network = read_description(folder), read_network(folder)
    data = subjects.settings.data
    of_icon = name_labels(subjects.icons, data.styles).of_icon
    rows: dict[str, dict[str, float]] = {}
    unknown: list[int] = []
    for style in (*data.measured_styles, *data.styles):
        unseen = subjects.list_unseen(style)
        unknown += [index for index in unseen if of_icon[index] < 0]
        known = [index for index in unseen if of_icon[index] >= 0]
        if known:
            guessed = recognise(network, _look(subjects, known))
            expected = torch.tensor([of_icon[index] for index in known])
            rows[style] = _judge(guessed, expected, description.threshold)
    if unknown:
        captioned = (
            recognise(network, _look(subjects, unknown)).amax(dim=1) >= description.threshold
        )
        rows["unknown"] = {
            "images": float(len(unknown)),
            "captioned": captioned.float().mean().item(),
        }
    grounds = [index for style in data.measured_styles for index in subjects.list_unseen(style)]
    rows["ground"] = _measure_grounds(subjects, grounds, description.colours)
    return rows


def show_captions(subjects: Subjects, folder: Path) -> list[tuple[str, str]]:
    """Returns names of some unseen drawings, and the caption of each."""
    describe = load_starter(folder, CaptionerOptions())
    settings = subjects.settings
    of_icon = name_labels(subjects.icons, settings.data.styles).of_icon
    unseen = [i for style in settings.data.measured_styles for i in subjects.list_unseen(style)]
    known = [index for index in unseen if of_icon[index] >= 0]
    chance = random.Random(derive_seed(settings.seed, "shown captions"))
    chosen = sorted(chance.sample(known, min(_SHOWN, len(known))))
    images = _render(subjects, chosen)
    return [
        (f"{subjects.icons[index].name} ({subjects.icons[index].style})", describe(image))
        for index, image in zip(chosen, images, strict=True)
    ]


def _judge(guessed: Tensor, expected: Tensor, threshold: float) -> dict[str, float]:
    right = guessed.argmax(dim=1) == expected
    among = (guessed.topk(min(5, guessed.shape[1]), dim=1).indices == expected[:, None]).any(dim=1)
    captioned = guessed.amax(dim=1) >= threshold
    return {
        "images": float(len(expected)),
        "top1": right.float().mean().item(),
        "top5": among.float().mean().item(),
        "captioned": captioned.float().mean().item(),
        "right": right[captioned].float().mean().item() if captioned.any() else 0.0,
    }


def _look(subjects: Subjects, chosen: Sequence[int]) -> Tensor:
    """Returns drawings on white as the network looks at them, [N, 3, SIZE, SIZE]."""
    shown = [torch.from_numpy(prepare_image(each, SIZE)) for each in _render(subjects, chosen)]
    return torch.stack(shown)


def _render(subjects: Subjects, chosen: Sequence[int]) -> list[Image.Image]:
    images = []
    for start in range(0, len(chosen), _CHUNK):
        composed = compose_on_white(subjects.sprites, chosen[start : start + _CHUNK])
        images += [Image.fromarray(each) for each in to_bytes(composed).cpu().numpy()]
    return images


def _measure_grounds(
    subjects: Subjects, indices: Sequence[int], colours: Mapping[str, tuple[int, int, int]]
) -> dict[str, float]:
    """How often the right colour is named behind drawings, each on another colour."""
    chosen = indices[:: max(1, len(indices) // (_CHUNK * 2))]
    which = torch.tensor(chosen, device=subjects.sprites.device)
    palette = make_palette(subjects.sprites.device)
    places = torch.arange(len(chosen), device=palette.device) % len(palette)
    composed = compose(
        subjects.sprites, "normal", torch.stack((which, which), dim=1), palette[places]
    )
    images = [Image.fromarray(each) for each in to_bytes(composed).cpu().numpy()]
    names = [list(COLOURS)[place] for place in places.tolist()]
    right = [name_ground(image, colours) == name for image, name in zip(images, names, strict=True)]
    return {"images": float(len(right)), "right": sum(right) / len(right)}
