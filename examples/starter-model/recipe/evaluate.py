"""Measuring the finished model: the VAE, 200 prompts, their styles and their backgrounds."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from recipe.captions import prompt_for
from recipe.colours import COLOURS
from recipe.composing import Sprites, compose_on_white
from recipe.features import describe, rank_own
from recipe.icons import Icon
from recipe.render import Pixels
from recipe.sampling import Networks, generate_images, rebuild
from recipe.settings import Settings
from recipe.style_classifier import classify, train_classifier
from recipe.training import DeviceContext
from trainer.seeds import derive_seed

_CORNER = 10  # pixels: nothing but background in the corners of an image
_CHUNK = 100


@dataclass(frozen=True)
class Subjects:
    """What there is to be measured on.

    Attributes:
        icons: All drawings, those of measured sets included.
        sprites: Their pixels.
        settings: The recipe.
    """

    icons: Sequence[Icon]
    sprites: Sprites
    settings: Settings

    def list_style(self, style: str) -> list[int]:
        """Returns all drawings of a style."""
        return [i for i, icon in enumerate(self.icons) if icon.style == style]

    def list_captioned(self, style: str) -> list[int]:
        """Returns the drawings of a style that captions named."""
        return [i for i in self.list_style(style) if self.icons[i].captioned]

    def list_training_images(self, style: str) -> list[int]:
        """Returns the drawings of a style that are not held out."""
        return [i for i in self.list_style(style) if not self.icons[i].held_out]

    def list_unseen(self, style: str) -> list[int]:
        """Returns those that nothing was trained on: held-out concepts, or a whole set."""
        whole = style in self.settings.data.measured_styles
        return [i for i in self.list_style(style) if whole or self.icons[i].held_out]


def measure_vae(subjects: Subjects, vae: AutoencoderKL) -> dict[str, dict[str, float]]:
    """Returns PSNR in dB, averaged over images no training showed, by set."""
    rows = {}
    data, limit = subjects.settings.data, subjects.settings.evaluation.psnr_images
    for style in (*data.styles, *data.measured_styles):
        chosen = _choose(subjects.list_unseen(style), limit, subjects.settings.seed)
        if chosen:
            ratios = []
            for start in range(0, len(chosen), _CHUNK):
                originals = compose_on_white(subjects.sprites, chosen[start : start + _CHUNK])
                ratios.append(measure_psnr(originals, rebuild(vae, originals)))
            rows[style] = {"psnr_db": torch.cat(ratios).mean().item(), "images": len(chosen)}
    return rows


def measure_psnr(originals: Tensor, rebuilt: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio per image in dB, [B], of images in -1 .. 1."""
    error = ((rebuilt - originals) / 2).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=1e-10).log10()


def measure_prompts(
    subjects: Subjects, networks: Networks, context: DeviceContext
) -> tuple[dict[str, float], Pixels]:
    """Returns how often prompts give the right concept, style and background, and the images.

    Beside the model's numbers stand those of the drawings themselves after the VAE (what could be
    reached) and of images for other prompts (what chance reaches).
    """
    chosen = choose_prompts(subjects)
    icons, settings = subjects.icons, subjects.settings
    prompts = [prompt_for(icons[index].name, icons[index].style) for index in chosen]
    colours = [list(COLOURS)[1 + place % (len(COLOURS) - 1)] for place in range(len(chosen))]
    coloured = [
        prompt_for(icons[index].name, icons[index].style, colour)
        for index, colour in zip(chosen, colours, strict=True)
    ]
    generated = generate_images(networks, prompts, settings.evaluation, settings.seed, context)
    on_colours = generate_images(
        networks, coloured, settings.evaluation, settings.seed + 1, context
    )
    images = from_bytes(generated, context.device)
    ideal = rebuild(networks.vae, compose_on_white(subjects.sprites, chosen))
    measured = {"prompts": float(len(chosen))}
    shuffled = images.roll(1, dims=0)
    for name, shown in (("", images), ("reachable_", ideal), ("chance_", shuffled)):
        ranks = rank_concepts(subjects, shown, chosen)
        measured[f"{name}concept_top1"] = (ranks < 1).float().mean().item()
        measured[f"{name}concept_top5"] = (ranks < 5).float().mean().item()
    measured |= compare_styles(subjects, images, chosen)
    measured |= measure_styles(subjects, networks.vae, (images, ideal), chosen, context)
    grounds = read_grounds(from_bytes(on_colours, context.device))
    right = [actual == expected for actual, expected in zip(grounds, colours, strict=True)]
    white = [actual == "white" for actual in read_grounds(images)]
    measured["background_right"] = sum(right) / len(right)
    measured["chance_background_right"] = 1 / (len(COLOURS) - 1)
    measured["white_background_right"] = sum(white) / len(white)
    return measured, generated


def choose_prompts(subjects: Subjects) -> list[int]:
    """Returns captioned drawings to prompt for, of all styles alike."""
    settings = subjects.settings
    styles = settings.data.styles
    share = -(-settings.evaluation.prompts // len(styles))
    per_style = [_choose(subjects.list_captioned(style), share, settings.seed) for style in styles]
    mixed = [index for row in per_style for index in row]
    return _choose(mixed, settings.evaluation.prompts, settings.seed)


def rank_concepts(subjects: Subjects, images: Tensor, chosen: Sequence[int]) -> Tensor:
    """Returns the rank of the right drawing among all of its style, [B]."""
    queries = describe(images)
    ranks = torch.zeros(len(chosen), dtype=torch.long)
    for style in subjects.settings.data.styles:
        rows = [row for row, index in enumerate(chosen) if subjects.icons[index].style == style]
        if rows:
            whole = subjects.list_style(style)
            known = torch.cat(
                [describe(compose_on_white(subjects.sprites, part)) for part in _cut(whole)]
            )
            places = {index: place for place, index in enumerate(whole)}
            own = torch.tensor([places[chosen[row]] for row in rows], device=known.device)
            ranks[rows] = rank_own(queries[rows], known, own).cpu()
    return ranks


def compare_styles(subjects: Subjects, images: Tensor, chosen: Sequence[int]) -> dict[str, float]:
    """Returns how often an image is nearest to its own style's drawing of the same concept.

    Nothing is learned for it; concepts that one style alone has are left out.
    """
    queries = describe(images)
    styles = subjects.settings.data.styles
    right, chance = [], []
    for row, index in enumerate(chosen):
        name = subjects.icons[index].name
        rivals = [
            i for i, icon in enumerate(subjects.icons) if icon.name == name and icon.style in styles
        ]
        if len(rivals) > 1:
            known = describe(compose_on_white(subjects.sprites, rivals))
            right.append(rivals[int((known @ queries[row]).argmax())] == index)
            chance.append(1 / len(rivals))
    if not right:
        return {}
    count = len(right)
    return {"style_nearest": sum(right) / count, "chance_style_nearest": sum(chance) / count}


def measure_styles(
    subjects: Subjects,
    vae: AutoencoderKL,
    images: tuple[Tensor, Tensor],
    chosen: Sequence[int],
    context: DeviceContext,
) -> dict[str, float]:
    """Returns how often a classifier sees the right style, in samples and in drawings.

    The classifier learns from all drawings but the held-out ones, as the VAE shows them, since a
    sample is seen through it as well.

    Args:
        subjects: All drawings.
        vae: Of the model.
        images: Samples, and the drawings that they ought to be, both through the VAE.
        chosen: Index of the drawing of each.
        context: Where to compute.
    """
    settings = subjects.settings
    styles = settings.data.styles
    limit = settings.evaluation.psnr_images

    def show(lists: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        shown = [
            rebuild(vae, compose_on_white(subjects.sprites, part)).half().cpu()
            for each in lists
            for part in _cut(each)
        ]
        numbers = [n for n, each in enumerate(lists) for _ in each]
        return torch.cat(shown), torch.tensor(numbers)

    trained = [subjects.list_training_images(s) for s in styles]
    unseen = [_choose(subjects.list_unseen(s), limit, settings.seed) for s in styles]
    classifier = train_classifier(*show(trained), settings.evaluation, settings.seed, context)
    expected = torch.tensor([styles.index(subjects.icons[index].style) for index in chosen])
    sampled, ideal = (_agree(classify(classifier, each, context), expected) for each in images)
    shares = {
        "style_right": sampled,
        "reachable_style_right": ideal,
        "chance_style_right": 1 / len(styles),
    }
    if any(unseen):
        shown, numbers = show(unseen)
        shares["unseen_style_right"] = _agree(classify(classifier, shown, context), numbers)
    return shares


def read_grounds(images: Tensor) -> list[str]:
    """Returns the named colour that is nearest to the corners of each image.

    Nearest is by the medians of red, green and blue over the four corners.
    """
    edge = _CORNER
    rows = torch.cat((images[:, :, :edge], images[:, :, -edge:]), dim=2)
    corners = torch.cat((rows[..., :edge], rows[..., -edge:]), dim=3).flatten(2)
    measured = (corners.float().median(dim=2).values + 1) / 2
    palette = torch.tensor(list(COLOURS.values()), device=measured.device) / 255
    nearest = torch.cdist(measured, palette).argmin(dim=1)
    return [list(COLOURS)[number] for number in nearest.tolist()]


def from_bytes(images: Pixels, device: torch.device) -> Tensor:
    """Returns images in -1 .. 1, [B, 3, h, w]."""
    return torch.tensor(images, device=device).permute(0, 3, 1, 2).float() / 127.5 - 1


def _choose(indices: Sequence[int], count: int, seed: int) -> list[int]:
    chance = random.Random(derive_seed(seed, "chosen", len(indices)))
    return sorted(chance.sample(list(indices), min(count, len(indices))))


def _cut(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]


def _agree(actual: Tensor, expected: Tensor) -> float:
    return (actual == expected).float().mean().item()
