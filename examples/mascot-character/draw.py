"""Draws the mascot dataset: fourteen images of Smitty, the little fox smith, with captions.

Usage: python draw.py [FOLDER]   (default: the folder "images" next to this file)
"""

import argparse
import io
from pathlib import Path

import resvg_py
from figure import Pose, draw_figure
from PIL import Image
from scenes import draw_background, draw_prop

SIZE = 256  # pixels, edge of a finished image
SUPERSAMPLING = 4

POSES = [
    Pose("front", "standing, smiling, on a white background", "white"),
    Pose("waving", "waving, smiling, on a blue background", "blue", arms=(30, 150)),
    Pose(
        "jumping",
        "jumping with raised arms, laughing, in front of a blue sky with clouds",
        "sky",
        face="laugh",
        legs="jump",
        arms=(145, 145),
        at=(128, 126),
    ),
    Pose("sitting", "sitting on a green meadow, smiling", "meadow", legs="sit", at=(124, 152)),
    Pose(
        "walking",
        "walking, side view, smiling, on a yellow background",
        "yellow",
        view="side",
        legs="walk",
        arms=(0, 35),
    ),
    Pose(
        "upside-down",
        "upside down, surprised, on a pink background",
        "pink",
        face="surprised",
        legs="jump",
        arms=(110, 110),
        at=(128, 112),
        turn=180,
    ),
    Pose(
        "sleeping",
        "sleeping, lying on the ground at night, under a moon and stars",
        "night",
        face="asleep",
        arms=(15, 15),
        prop="zzz",
        at=(104, 178),
        turn=78,
    ),
    Pose(
        "sad",
        "standing in the rain, sad, crying, on a grey background",
        "rain",
        face="sad",
        arms=(12, 12),
    ),
    Pose(
        "hammer",
        "holding a hammer, winking, on a white background",
        "white",
        face="wink",
        arms=(60, 130),
        prop="hammer",
        at=(112, 146),
    ),
    Pose(
        "balloon",
        "holding a red balloon, flying, happy, in front of a blue sky with clouds",
        "sky",
        face="laugh",
        legs="jump",
        arms=(60, 150),
        prop="balloon",
        at=(104, 156),
        turn=-8,
        scale=0.86,
    ),
    Pose(
        "smithing",
        "hammering on an anvil, angry, in a brown workshop",
        "workshop",
        face="angry",
        arms=(40, 140),
        prop="hammer and anvil",
        at=(100, 148),
        scale=0.86,
    ),
    Pose("close-up", "close-up, smiling, on a green background", "green", at=(128, 168), scale=1.6),
    Pose(
        "from-behind",
        "from behind, looking at the stars, on a hill at night",
        "night",
        view="back",
        arms=(25, 25),
    ),
    Pose(
        "flower",
        "holding a red flower, surprised, on a green meadow",
        "meadow",
        face="surprised",
        arms=(40, 120),
        prop="flower",
        at=(116, 146),
    ),
]


def compose_image(pose: Pose) -> str:
    """The whole image as SVG."""
    # The prop comes before the figure, so that the glove closes around it.
    layers = draw_background(pose.background) + draw_prop(pose.prop) + draw_figure(pose)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}">{layers}</svg>'


def render_image(pose: Pose) -> Image.Image:
    """The finished image: rendered large, then reduced, so that edges are smooth."""
    large = SIZE * SUPERSAMPLING
    png = resvg_py.svg_to_bytes(svg_string=compose_image(pose), width=large, height=large)
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def write_dataset(folder: Path) -> None:
    """Write every pose as `NN-name.png`, with its caption beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pose in enumerate(POSES, start=1):
        stem = folder / f"{number:02d}-{pose.name}"
        render_image(pose).save(stem.with_suffix(".png"), optimize=True)
        stem.with_suffix(".txt").write_text(pose.caption + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the mascot dataset.")
    default = Path(__file__).parent / "images"
    parser.add_argument("folder", type=Path, nargs="?", default=default, help="where to write")
    write_dataset(parser.parse_args().folder)
