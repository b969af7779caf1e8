"""The captioner's stages, and the folder that a person's captions come from."""

import json
import shutil

import pytest
import torch
from PIL import Image
from recipe.captioner_images import disturb_drawings
from recipe.colours import COLOURS
from recipe.composing import compose_on_white, to_bytes
from recipe.errors import OutOfTimeError
from recipe.settings import PRESETS, SMOKE, assign
from recipe.train_captioner import name_labels
from recipe.training import make_device_context

from datasets_tools.captioners.options import CaptionerOptions
from datasets_tools.captioners.starter import (
    load_starter,
    name_ground,
    prepare_image,
    read_network,
)
from datasets_tools.captioners.starter_files import DESCRIPTION, WEIGHTS, read_description
from datasets_tools.captioners.starter_network import SIZE, recognise
from datasets_tools.errors import DatasetError
from tests.starter.conftest import STARTER, make_build


@pytest.fixture
def folder(build, tmp_path):
    """A copy of the smoke build's captioner, to be spoiled."""
    return shutil.copytree(build.captioner.folder / "captioner", tmp_path / "captioner")


def test_every_concept_has_a_label_that_is_a_name_of_it(icons):
    labels = name_labels(icons, SMOKE.data.styles)
    for icon, label in zip(icons, labels.of_icon, strict=True):
        if icon.held_out:
            assert label == -1
        elif icon.style in SMOKE.data.styles:
            same = [
                other.name for other, n in zip(icons, labels.of_icon, strict=True) if n == label
            ]
            assert any(name.replace("-", " ") in labels.phrases[label] for name in same)
    assert len(set(labels.phrases)) == len(labels.phrases)


def test_a_face_and_the_whole_animal_are_two_labels_where_a_set_draws_both(icons):
    from dataclasses import replace

    bear = next(icon for icon in icons if icon.name == "bear-face" and icon.style == "noto")
    seen = replace(bear, held_out=False, captioned=True)
    whole = replace(seen, name="bear")
    apart = name_labels([seen, whole], ["noto"])
    assert apart.phrases == ("a bear", "a bear face")
    other_set = replace(whole, style="twemoji")
    together = name_labels([seen, other_set], ["noto", "twemoji"])
    assert together.of_icon == (0, 0)


def test_disturbed_drawings_are_pictures_by_the_seed_alone(build):
    rows = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    one, same, other = (disturb_drawings(build.sprites, rows, seed) for seed in (1, 1, 2))
    assert one.shape == (8, 3, SIZE, SIZE)
    assert -1 <= one.min() < one.max() <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[3])


def test_interrupted_training_ends_with_identical_weights(build, shared_packages, tmp_path):
    stops = 0
    while stops < 20:
        context = make_device_context("cpu", compiled=False, stop_at=0)
        try:
            made = make_build(tmp_path, shared_packages, context).named
            break
        except OutOfTimeError:
            stops += 1
    assert stops == SMOKE.captioner.steps - 1
    assert (made.folder / WEIGHTS).read_bytes() == (build.named.folder / WEIGHTS).read_bytes()


def test_another_threshold_trains_nothing_again(build, shared_packages):
    settings = assign(SMOKE, ["captioner.threshold=0.9"])
    other = make_build(build.work, shared_packages, settings=settings)
    assert other.named == build.named
    assert read_description(other.captioner.folder / "captioner").threshold == 0.9


def test_model_carries_the_captioner_and_its_card(model, build):
    made = build.captioner.folder / "captioner"
    for name in (WEIGHTS, DESCRIPTION, "README.md"):
        assert (model / "captioner" / name).read_bytes() == (made / name).read_bytes()
    card = (made / "README.md").read_text(encoding="utf-8")
    for words in ("Google Inc.", "Twitter", "knows emoji and nothing else", "| openmoji |"):
        assert words in card


def test_captioner_says_what_its_network_finds_most_probable(build, folder):
    index = next(i for i, icon in enumerate(build.icons) if icon.style == "openmoji")
    drawn = to_bytes(compose_on_white(build.sprites, [index]))[0].numpy()
    image = Image.fromarray(drawn)
    looked_at = torch.from_numpy(prepare_image(image, SIZE)).unsqueeze(0)
    found = recognise(read_network(folder), looked_at)[0]
    label = read_description(folder).labels[int(found.argmax())]
    sure = float(found.max())
    assert load_starter(folder, CaptionerOptions(threshold=sure - 1e-4))(image) == label
    assert load_starter(folder, CaptionerOptions(threshold=sure + 1e-4))(image) == ""


@pytest.mark.parametrize(
    ("rgb", "named"), [((250, 250, 250), "white"), ((220, 45, 40), "red"), ((40, 100, 210), "blue")]
)
def test_plain_background_is_named(rgb, named):
    image = Image.new("RGB", (90, 60), rgb)
    image.paste((0, 0, 0), (20, 10, 70, 50))
    assert name_ground(image, COLOURS) == named


def test_background_that_is_not_plain_or_has_no_name_is_not_named():
    halves = Image.new("RGB", (80, 80), (214, 40, 40))
    halves.paste((40, 105, 215), (0, 0, 40, 80))
    assert name_ground(halves, COLOURS) == ""
    assert name_ground(Image.new("RGB", (80, 80), (0, 255, 255)), COLOURS) == ""


def test_long_picture_is_filled_up_and_not_cut():
    wide = Image.new("RGB", (200, 50), (10, 10, 10))
    wide.paste((250, 0, 0), (0, 10, 20, 40))
    looked_at = prepare_image(wide, SIZE)
    assert looked_at.shape == (3, SIZE, SIZE)
    assert looked_at[0, :, :6].max() > 0.5  # what was at the very left is still seen
    assert looked_at[:, :16].max() < -0.8


def test_shipped_captioner_names_the_example_data_set():
    describe = load_starter(STARTER / "captioner", CaptionerOptions())
    said = {}
    for path in sorted((STARTER.parent / "openmoji-style" / "images").glob("*.png")):
        with Image.open(path) as image:
            said[path.stem.partition("-")[2].replace("-", " ")] = describe(image.convert("RGB"))
    # OpenMoji is a set that it has never seen; its card has the rate over all of it.
    right = [name for name, caption in said.items() if caption and name in caption]
    wrong = [name for name, caption in said.items() if caption and name not in caption]
    assert len(said) == 16
    assert len(right) >= 8
    assert len(wrong) <= 2


def test_shipped_captioner_is_mostly_silent_about_what_it_cannot_know():
    describe = load_starter(STARTER / "captioner", CaptionerOptions())
    images = sorted((STARTER.parent / "mascot-character" / "images").glob("*.png"))
    said = []
    for path in images:
        with Image.open(path) as image:
            said.append(describe(image.convert("RGB")))
    assert said.count("") >= len(images) - 2


def test_shipped_card_says_what_the_shipped_captioner_is():
    folder = STARTER / "captioner"
    description = read_description(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"({len(description.labels)} labels" in card
    assert f"at least {description.threshold:.0%}" in card
    assert description.widths == PRESETS["cpu"].captioner.widths
    assert "--only captioner" in card


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / WEIGHTS).write_bytes(b"x" * 50), "damaged"),
        (lambda f: (f / WEIGHTS).unlink(), "damaged"),
        (lambda f: (f / DESCRIPTION).unlink(), "no captioner.json"),
        (lambda f: (f / DESCRIPTION).write_text("[1]"), "damaged"),
        (lambda f: (f / DESCRIPTION).write_text('{"kind": "blip"}'), "another kind"),
        (lambda f: drop_label(f / DESCRIPTION), "damaged"),
    ],
)
def test_spoiled_captioner_is_refused_in_a_sentence(folder, spoil, words):
    spoil(folder)
    with pytest.raises(DatasetError, match=words):
        load_starter(folder, CaptionerOptions())


def drop_label(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    content["labels"].pop()
    path.write_text(json.dumps(content), encoding="utf-8")
