"""Images for `check_up.py`: photographs, illustrations and emoji, sound and with planted faults."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).parents[1]
SPLITS = ("tuning", "reporting")
KINDS = ("photo", "illustration", "emoji")
# Photographs that come with scikit-image, scikit-learn and matplotlib: in the public domain, CC0,
# or CC BY (china, flower); their README files name the authors.
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "china.jpg", "coffee.png",
    "coins.png", "flower.jpg", "grace_hopper.jpg", "grass.png", "gravel.png", "ihc.png",
    "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
CROPS = 5  # of each photograph, so that there are enough sound ones
PHOTO_SIDE = 384


@dataclass(frozen=True)
class Base:
    """A sound image: where it came from decides its split, so that no source is in both."""

    name: str
    kind: str
    split: str
    image: Image.Image


def list_bases(photographs: Path) -> list[Base]:
    """Returns the sound images of all kinds and both splits."""
    bases = []
    for number, name in enumerate(PHOTOGRAPHS):
        whole = Image.open(photographs / name).convert("RGB")
        rng = random.Random(name)
        for crop in range(CROPS):
            image = _cut(whole, rng)
            bases.append(Base(f"{Path(name).stem}-{crop}", "photo", SPLITS[number % 2], image))
    emoji = [
        *sorted((ROOT / "examples/openmoji-style/images").glob("*.png")),
        *sorted((ROOT / "benchmarks/data/openmoji-heldout/images").glob("*.png")),
    ]
    for number, path in enumerate(emoji):
        image = Image.open(path).convert("RGB")
        bases.append(Base(path.stem, "emoji", SPLITS[number % 2], image))
    mascots = sorted((ROOT / "examples/mascot-character/images").glob("*.png"))
    for number, path in enumerate(mascots):
        image = Image.open(path).convert("RGB")
        bases.append(Base(path.stem, "illustration", SPLITS[number % 2], image))
    for number in range(48):
        image = make_scene(random.Random(f"scene {number}"))
        bases.append(Base(f"scene-{number}", "illustration", SPLITS[number % 2], image))
    return bases


def _cut(whole: Image.Image, rng: random.Random) -> Image.Image:
    """Returns a part of a photograph, at least two thirds of its shorter side."""
    side = round(min(whole.size) * rng.uniform(0.67, 1.0))
    wide = min(round(side * rng.choice((1, 1, 1.25))), whole.width)
    left, top = rng.randint(0, whole.width - wide), rng.randint(0, whole.height - side)
    part = whole.crop((left, top, left + wide, top + side))
    if min(part.size) > PHOTO_SIDE * 1.4:
        scale = PHOTO_SIDE / min(part.size)
        size = (round(part.width * scale), round(part.height * scale))
        part = part.resize(size, Image.Resampling.LANCZOS)
    return part


def make_scene(rng: random.Random) -> Image.Image:
    """Returns an illustration: shapes with or without outlines on a plain or shaded ground."""
    side, scale = 384, 2
    big = side * scale
    top, bottom = (_colour(rng) for _ in range(2))
    if rng.random() < 0.5:
        bottom = top
    ramp = np.linspace(0, 1, big)[:, None, None]
    ground = (np.array(top) * (1 - ramp) + np.array(bottom) * ramp) * np.ones((1, big, 1))
    image = Image.fromarray(ground.round().astype(np.uint8))
    canvas = ImageDraw.Draw(image)
    outline = rng.choice((None, (20, 20, 30), (60, 30, 20)))
    for _ in range(rng.randint(5, 16)):
        x, y = rng.randint(0, big), rng.randint(0, big)
        w, h = rng.randint(big // 12, big // 2), rng.randint(big // 12, big // 2)
        box = (x - w // 2, y - h // 2, x + w // 2, y + h // 2)
        shape = rng.randrange(3)
        if shape == 0:
            canvas.ellipse(box, _colour(rng), outline, 8)
        elif shape == 1:
            canvas.rounded_rectangle(box, min(w, h) // 4, _colour(rng), outline, 8)
        else:
            points = [(rng.randint(box[0], box[2]), rng.randint(box[1], box[3])) for _ in range(5)]
            canvas.polygon(points, _colour(rng), outline, 8)
    return image.resize((side, side), Image.Resampling.LANCZOS)


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return (rng.randrange(256), rng.randrange(256), rng.randrange(256))


Colour = tuple[int, int, int]
Fault = Callable[[Image.Image, int, random.Random], Image.Image]


def _to_light(image: Image.Image) -> np.ndarray:
    return (np.asarray(image, dtype=np.float64) / 255) ** 2.2


def _from_light(light: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(light, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8))


def blur(image: Image.Image, strength: int, _rng: random.Random) -> Image.Image:
    """Returns it out of focus: 1.5, 2 or 3 pixels per 256 of the shorter side."""
    radius = (1.5, 2.0, 3.0)[strength] * min(image.size) / 256
    return image.filter(ImageFilter.GaussianBlur(radius))


def overexpose(image: Image.Image, strength: int, _rng: random.Random) -> Image.Image:
    """Returns it with 2, 3 or 4 stops too much light, and as much veiling glare."""
    return _from_light(_to_light(image) * 2 ** (2 + strength) + 0.15 * (1 + strength))


def underexpose(image: Image.Image, strength: int, _rng: random.Random) -> Image.Image:
    """Returns it with 3, 4 or 5 stops too little light."""
    return _from_light(_to_light(image) * 0.5 ** (3 + strength))


def blank(image: Image.Image, strength: int, rng: random.Random) -> Image.Image:
    """Returns black, one colour, or one colour with noise instead of it."""
    if strength == 0:
        return Image.new("RGB", image.size)
    plain = np.full((image.height, image.width, 3), _colour(rng), dtype=np.float64)
    if strength == 2:
        plain += np.random.default_rng(rng.randrange(2**32)).normal(0, 4, plain.shape)
    return Image.fromarray(np.clip(plain, 0, 255).astype(np.uint8))


PIXEL_FAULTS: dict[str, Fault] = {
    "blurred": blur,
    "overexposed": overexpose,
    "underexposed": underexpose,
    "blank": blank,
}


def resize(image: Image.Image, strength: int, _rng: random.Random) -> Image.Image:
    """Returns a copy of three quarters, half or 1.6 times its size."""
    factor = (0.75, 0.5, 1.6)[strength]
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC)


def encode_again(image: Image.Image, strength: int, _rng: random.Random) -> Image.Image:
    """Returns it as a JPEG of quality 80, 50 or 25."""
    memory = BytesIO()
    image.save(memory, "JPEG", quality=(80, 50, 25)[strength])
    return Image.open(memory).convert("RGB")


def cut(image: Image.Image, strength: int, rng: random.Random) -> Image.Image:
    """Returns a part of about 92, 84 or 76 % of each side, anywhere in it."""
    share = (0.92, 0.84, 0.76)[strength]
    width, height = (round(side * (share + rng.uniform(-0.03, 0.03))) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def mirror(image: Image.Image, strength: int, rng: random.Random) -> Image.Image:
    """Returns it mirrored; also encoded anew, or cut."""
    turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    change = (None, encode_again, cut)[strength]
    return change(turned, strength - 1 if change is encode_again else 0, rng) if change else turned


COPIES: dict[str, Fault] = {
    "resized": resize,
    "encoded again": encode_again,
    "cut": cut,
    "mirrored": mirror,
}


def vary(image: Image.Image, rng: random.Random) -> Image.Image:
    """Returns an image of a subject as a good dataset has it: another ground, place and size."""
    side = 384
    scale = rng.uniform(0.35, 0.95)
    small = image.resize((round(side * scale),) * 2, Image.Resampling.LANCZOS)
    ground = _make_ground(side, _colour(rng), _colour(rng), rng)
    place = (rng.randint(0, side - small.width), rng.randint(0, side - small.height))
    ground.paste(small, place, _make_mask(small))
    return ground


def centre(image: Image.Image, jitter: float, rng: random.Random) -> Image.Image:
    """Returns a subject always at the same place in the same size, give or take."""
    side = 384
    size = round(side * (0.6 + rng.uniform(-jitter, jitter)))
    small = image.resize((size, size), Image.Resampling.LANCZOS)
    first = _colour(rng)
    ground = Image.new("RGB", (side, side), first)
    middle = [round((side - size) / 2 + rng.uniform(-jitter, jitter) * side) for _ in range(2)]
    ground.paste(small, (middle[0], middle[1]), _make_mask(small))
    return ground


def on_ground(
    image: Image.Image, ground: tuple[int, int, int], jitter: int, rng: random.Random
) -> Image.Image:
    """Returns a subject anywhere on a plain ground of one colour, give or take."""
    side = 384
    colour = tuple(min(max(value + rng.randint(-jitter, jitter), 0), 255) for value in ground)
    size = round(side * rng.uniform(0.3, 0.85))
    small = image.resize((size, size), Image.Resampling.LANCZOS)
    result = Image.new("RGB", (side, side), colour)
    space = side - size
    result.paste(small, (rng.randint(0, space), rng.randint(0, space)), _make_mask(small))
    return result


def tint(image: Image.Image, colour: tuple[int, int, int], share: float) -> Image.Image:
    """Returns it in shades of one colour, mixed with so much of itself."""
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None] / 255
    shaded = grey * np.array(colour)
    mixed = shaded * share + np.asarray(image, dtype=np.float64) * (1 - share)
    return Image.fromarray(mixed.round().astype(np.uint8))


def _make_ground(side: int, one: Colour, other: Colour, rng: random.Random) -> Image.Image:
    ramp = np.linspace(0, 1, side)[:, None, None]
    shaded = (np.array(one) * (1 - ramp) + np.array(other) * ramp) * np.ones((1, side, 1))
    ground = Image.fromarray(shaded.round().astype(np.uint8))
    canvas = ImageDraw.Draw(ground)
    for _ in range(rng.randint(2, 8)):
        x, y, w = rng.randint(0, side), rng.randint(0, side), rng.randint(30, side // 2)
        canvas.rectangle((x - w // 2, y - w // 2, x + w // 2, y + w // 2), _colour(rng))
    return ground


def _make_mask(image: Image.Image) -> Image.Image:
    """Returns the round middle of an image, or all of it that is not white."""
    white = np.asarray(image).min(axis=2) > 245
    if white[0].mean() > 0.9 and white[-1].mean() > 0.9:
        return Image.fromarray((~white * 255).astype(np.uint8))
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((0, 0, image.width - 1, image.height - 1), 255)
    return mask
