"""The example and held-out datasets are complete, disjoint, and what their scripts produce."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

ROOT = Path(__file__).parents[2]
STYLE = ROOT / "examples/openmoji-style/images"
MASCOT = ROOT / "examples/mascot-character/images"
DATA = ROOT / "benchmarks/data"
HELD_OUT = DATA / "openmoji-heldout/images"
COUNTS = {STYLE: 16, HELD_OUT: 48, MASCOT: 14}
NOT_SUBJECTS = {"a", "an", "face", "red"}

every_dataset = pytest.mark.parametrize("folder", COUNTS, ids=lambda folder: folder.parent.name)


def read_captions(folder: Path) -> dict[str, str]:
    """The caption of every picture, by the picture's stem."""
    return {
        image.stem: image.with_suffix(".txt").read_text(encoding="utf-8").strip()
        for image in sorted(folder.glob("*.png"))
    }


def read_prompts() -> list[dict[str, str]]:
    """The evaluation prompts with their references."""
    prompts: list[dict[str, str]] = json.loads((DATA / "prompts.json").read_text())["prompts"]
    return prompts


def subject_words(captions: dict[str, str]) -> set[str]:
    """The words of all captions that name a subject."""
    return {word for caption in captions.values() for word in caption.split()} - NOT_SUBJECTS


@every_dataset
def test_every_picture_has_a_caption_and_every_caption_a_picture(folder: Path) -> None:
    captions = read_captions(folder)
    assert len(captions) == COUNTS[folder]
    assert all(captions.values())
    assert {path.stem for path in folder.glob("*.txt")} == set(captions)


@every_dataset
def test_no_caption_occurs_twice_or_names_a_trigger_word(folder: Path) -> None:
    captions = list(read_captions(folder).values())
    assert len(set(captions)) == len(captions)
    assert not [caption for caption in captions if re.search("omoji|smitty|style", caption)]


@every_dataset
def test_pictures_are_opaque_squares_of_256_pixels(folder: Path) -> None:
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((256, 256), "RGB"), path.name


@every_dataset
def test_dataset_is_smaller_than_a_megabyte(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000


@pytest.mark.parametrize("folder", [STYLE, HELD_OUT], ids=["style", "held-out"])
def test_openmoji_drawings_keep_a_white_margin(folder: Path) -> None:
    white = Image.new("RGB", (256, 256), "white")
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            drawn = ImageChops.difference(image, white).getbbox()
        assert drawn is not None, path.name
        assert min(drawn[:2]) >= 12, path.name
        assert max(drawn[2:]) <= 244, path.name


def test_training_and_held_out_subjects_are_disjoint() -> None:
    assert not subject_words(read_captions(STYLE)) & subject_words(read_captions(HELD_OUT))


def test_there_are_24_different_prompts_and_none_is_a_training_caption() -> None:
    prompts = [entry["prompt"] for entry in read_prompts()]
    assert len(prompts) == len(set(prompts)) == 24
    assert not set(prompts) & set(read_captions(STYLE).values())


def test_every_prompt_refers_to_the_held_out_picture_of_its_subject() -> None:
    for entry in read_prompts():
        reference = DATA / entry["reference"]
        assert reference.is_file()
        assert reference.with_suffix(".txt").read_text().strip() == entry["prompt"]


def test_draw_script_reproduces_the_mascot_dataset(tmp_path: Path) -> None:
    script = MASCOT.parent / "draw.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    assert read_captions(tmp_path) == read_captions(MASCOT)
    for path in MASCOT.glob("*.png"):
        with Image.open(path) as shipped, Image.open(tmp_path / path.name) as drawn:
            assert shipped.tobytes() == drawn.tobytes(), path.name


def test_prepare_script_refuses_a_folder_that_is_not_the_package(tmp_path: Path) -> None:
    command = [sys.executable, str(STYLE.parent / "prepare.py"), "--package", str(tmp_path)]
    outcome = subprocess.run([*command, "--root", str(tmp_path)], capture_output=True, text=True)
    assert outcome.returncode == 1
    assert "is not an unpacked @iconify-json/openmoji" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_prepare_script_writes_the_captions_that_are_shipped(tmp_path: Path) -> None:
    # The package is not in the repository, so one with stand-in drawings takes its place.
    package = tmp_path / "package"
    package.mkdir()
    (package / "package.json").write_text('{"version": "1.2.29"}')
    names = [stem[3:] for folder in (STYLE, HELD_OUT) for stem in read_captions(folder)]
    body = '<rect x="6" y="6" width="60" height="60" fill="#c00"/>'
    icons = {"width": 72, "height": 72, "icons": {name: {"body": body} for name in names}}
    (package / "icons.json").write_text(json.dumps(icons))
    script = STYLE.parent / "prepare.py"
    command = [sys.executable, str(script), "--package", str(package), "--root", str(tmp_path)]
    subprocess.run(command, check=True)
    for folder in (STYLE, HELD_OUT):
        assert read_captions(tmp_path / folder.relative_to(ROOT)) == read_captions(folder)
