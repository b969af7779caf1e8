"""Renders the OpenMoji images: the style dataset beside this file and its held-out counterpart.

Usage: python prepare.py [--package FOLDER] [--root FOLDER]

FOLDER of `--package` is the unpacked npm package; without it, the script fetches the exact version
below with `npm pack`. Rendering is deterministic: the same package gives the same images.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

PACKAGE = "@iconify-json/openmoji"
VERSION = "1.2.29"

SIZE = 256  # pixels, edge of a finished image
DRAWING_SIZE = 232  # pixels, edge of the drawing centred on it, as for the starter model
SUPERSAMPLING = 4

# What an adapter is trained on.
STYLE = [
    "lion",
    "pig-face",
    "lady-beetle",
    "bear",
    "octopus",
    "strawberry",
    "pineapple",
    "watermelon",
    "sunflower",
    "evergreen-tree",
    "wrapped-gift",
    "trophy",
    "light-bulb",
    "crown",
    "automobile",
    "castle",
]
# The subjects of benchmarks/data/prompts.json, in its order.
PROMPTED = [
    "cat-face",
    "dog-face",
    "panda",
    "frog",
    "owl",
    "fox",
    "koala",
    "mouse-face",
    "crab",
    "wolf",
    "butterfly",
    "red-apple",
    "doughnut",
    "carrot",
    "hamburger",
    "avocado",
    "cookie",
    "umbrella",
    "television",
    "cactus",
    "robot",
    "bell",
    "tulip",
    "bus",
]
# Held out as well, but not prompted for.
UNPROMPTED = [
    "tiger-face",
    "monkey-face",
    "cow-face",
    "penguin",
    "whale",
    "turtle",
    "rabbit-face",
    "fish",
    "tomato",
    "lemon",
    "mushroom",
    "pear",
    "hot-dog",
    "eggplant",
    "peach",
    "cherry-blossom",
    "four-leaf-clover",
    "maple-leaf",
    "guitar",
    "camera",
    "bicycle",
    "basketball",
    "top-hat",
    "anchor",
]

DATASETS = {
    "examples/openmoji-style/images": STYLE,
    "benchmarks/data/openmoji-heldout/images": PROMPTED + UNPROMPTED,
}


def caption_subject(name: str) -> str:
    """The caption: the subject with its article and not a word about style."""
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name.replace('-', ' ')}"


def fetch_package(folder: Path) -> Path:
    """Fetch the package into `folder` and return where it was unpacked."""
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent"]
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(
            f"{PACKAGE} {VERSION} could not be fetched with npm ({error}); unpack it yourself"
            " and name its folder with --package."
        )
    archive = next(folder.glob("*.tgz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "package"


def read_icons(package: Path) -> dict[str, Any]:
    """The icon set as Iconify stores it; refuses another version, whose drawings may differ."""
    try:
        version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
        icons: dict[str, Any] = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"{package} is not an unpacked {PACKAGE} ({error}); give its folder as --package.")
    if version != VERSION:
        sys.exit(f"{package} holds version {version}; these images need {PACKAGE} {VERSION}.")
    return icons


def render_icon(icons: dict[str, Any], name: str) -> Image.Image:
    """The icon, centred on white: rendered large, then reduced, so that outlines are smooth."""
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    large = DRAWING_SIZE * SUPERSAMPLING
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}">{icon["body"]}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=large, height=large, background="#ffffff")
    with Image.open(io.BytesIO(png)) as image:
        shape = (DRAWING_SIZE, DRAWING_SIZE)
        drawing = image.convert("RGB").resize(shape, Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (SIZE, SIZE), "white")
    margin = (SIZE - DRAWING_SIZE) // 2
    canvas.paste(drawing, (margin, margin))
    return canvas


def write_dataset(icons: dict[str, Any], names: list[str], folder: Path) -> None:
    """Write `NN-name.png` and its caption for every name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, start=1):
        stem = folder / f"{number:02d}-{name}"
        render_icon(icons, name).save(stem.with_suffix(".png"), optimize=True)
        stem.with_suffix(".txt").write_text(caption_subject(name) + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments, find the package, write both datasets."""
    parser = argparse.ArgumentParser(description="Render the OpenMoji datasets.")
    parser.add_argument("--package", type=Path, help=f"unpacked {PACKAGE} {VERSION}")
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--root", type=Path, default=root, help="the project's root, or a copy")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        icons = read_icons(arguments.package or fetch_package(Path(scratch)))
    for place, names in DATASETS.items():
        write_dataset(icons, names, arguments.root / place)


if __name__ == "__main__":
    main()
