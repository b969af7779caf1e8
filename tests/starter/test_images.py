"""Rendering, composing, and the measures that judge pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from recipe.colours import COLOURS
from recipe.composing import (
    EDGES,
    compose,
    compose_on_white,
    ink_edges,
    make_palette,
    make_sprites,
    to_bytes,
)
from recipe.errors import RecipeError
from recipe.evaluate import Subjects, compare_styles, from_bytes, measure_psnr, read_grounds
from recipe.features import describe, rank_own
from recipe.icons import Icon
from recipe.render import DRAWING_SIZE, SIZE, load_drawings, load_icons, render_icon, save_drawings
from recipe.settings import SMOKE, assign
from recipe.style_classifier import classify, train_classifier
from recipe.training import make_device_context

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rendered(icons):
    return [render_icon(icon) for icon in icons]


@pytest.fixture(scope="module")
def drawings(icons, rendered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    save_drawings(folder, icons, rendered)
    assert [icon.name for icon in load_icons(folder)] == [icon.name for icon in icons]
    assert [icon.held_out for icon in load_icons(folder)] == [icon.held_out for icon in icons]
    return load_drawings(folder)


@pytest.fixture(scope="module")
def sprites(drawings):
    return make_sprites(drawings, CPU)


def test_stored_drawings_are_what_was_rendered(rendered, drawings):
    for encoded, pixels in zip(rendered, drawings, strict=True):
        with Image.open(io.BytesIO(encoded)) as image:
            assert (np.asarray(image.convert("RGBA")) == pixels).all()
    assert drawings.shape[1:] == (DRAWING_SIZE, DRAWING_SIZE, 4)
    assert (drawings[..., 3].max(axis=(1, 2)) == 255).all()


def test_rendering_is_the_same_every_time(icons, rendered):
    assert render_icon(icons[3]) == rendered[3]


def test_damaged_svg_is_reported_by_name():
    with pytest.raises(RecipeError, match="broken-thing of noto"):
        render_icon(Icon("noto", "broken-thing", "<svg><g></svg>"))


def test_drawing_that_is_not_square_is_centred_without_distortion(shared_packages):
    from recipe.icons import read_icons
    from recipe.packages import Package

    data = {
        "icons": {"bar": {"body": '<path d="M0 0h40v10H0z"/>', "height": 10}},
        "width": 40,
        "height": 40,
    }
    icon = read_icons(Package("noto", data, "MIT", ""))[0]
    with Image.open(io.BytesIO(render_icon(icon))) as image:
        opacity = np.asarray(image.convert("RGBA"))[..., 3]
    rows = np.flatnonzero(opacity[:, DRAWING_SIZE // 2] > 127)
    assert len(rows) == pytest.approx(DRAWING_SIZE / 4, abs=1)
    assert rows.mean() == pytest.approx((DRAWING_SIZE - 1) / 2, abs=1)
    assert (opacity[DRAWING_SIZE // 2] > 127).all()


def test_composed_picture_equals_one_that_pillow_composed(sprites, drawings):
    ground = COLOURS["orange"]
    wanted = Image.new("RGBA", (SIZE, SIZE), (*ground, 255))
    place = ((SIZE - DRAWING_SIZE) // 2,) * 2
    wanted.alpha_composite(Image.fromarray(drawings[5], "RGBA"), place)
    which = torch.tensor([[5, 5]])
    grounds = make_palette(CPU)[list(COLOURS).index("orange")][None]
    made = to_bytes(compose(sprites, "normal", which, grounds))[0].numpy()
    difference = np.abs(made.astype(int) - np.asarray(wanted.convert("RGB")).astype(int))
    assert difference.max() <= 2


@pytest.mark.parametrize("layout", list(EDGES))
def test_every_layout_shows_its_drawings_in_their_places(sprites, layout):
    black = torch.zeros(1, 3)
    images = compose(sprites, layout, torch.tensor([[0, 7]]), black)
    covered = (images[0] > -1).any(dim=0)
    columns = torch.nonzero(covered.any(dim=0)).squeeze(1)
    middle = SIZE // 2
    if layout == "pair":
        # Each half is the drawing that was named for it, whatever the other one is.
        alone = compose(sprites, layout, torch.tensor([[0, 3]]), black)
        assert torch.equal(images[..., :middle], alone[..., :middle])
        assert not torch.equal(images[..., middle:], alone[..., middle:])
    else:
        margin = max(0, (SIZE - EDGES[layout]) // 2)
        assert columns.min() >= margin
        assert columns.max() < SIZE - margin
    assert covered.any()


def test_small_and_large_drawings_are_of_those_sizes(sprites):
    black = torch.zeros(1, 3)
    areas = {
        layout: (compose(sprites, layout, torch.tensor([[1, 1]]), black) > -1).float().mean()
        for layout in ("small", "normal", "large")
    }
    small, normal = EDGES["small"] / EDGES["normal"], EDGES["large"] / EDGES["normal"]
    assert areas["small"] / areas["normal"] == pytest.approx(small**2, rel=0.15)
    assert areas["large"] / areas["normal"] == pytest.approx(normal**2, rel=0.15)


def test_shifted_picture_is_the_same_picture_elsewhere(sprites):
    grounds = torch.full((1, 3), 0.5)
    still = compose(sprites, "small", torch.tensor([[2, 2]]), grounds)
    moved = compose(sprites, "small", torch.tensor([[2, 2]]), grounds, shift=(5, -3))
    assert torch.equal(moved, still.roll((-3, 5), dims=(2, 3)))


def test_ink_is_drawn_on_edges_and_nowhere_else(sprites):
    plain = compose(sprites, "normal", torch.tensor([[0, 0]]), torch.ones(1, 3))
    inked = ink_edges(plain, torch.zeros(1))
    changed = (inked != plain).any(dim=1)
    assert 0.005 < changed.float().mean() < 0.2
    assert (inked[0][:, changed[0]] == -1).all()
    flat = torch.full((1, 3, SIZE, SIZE), 0.3)
    assert torch.equal(ink_edges(flat, torch.zeros(1)), flat)


@pytest.mark.parametrize("colour", list(COLOURS))
def test_background_is_read_off_a_composed_picture(sprites, colour):
    grounds = make_palette(CPU)[list(COLOURS).index(colour)].repeat(len(sprites), 1)
    which = torch.arange(len(sprites))[:, None].repeat(1, 2)
    images = compose(sprites, "normal", which, grounds)
    noisy = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert read_grounds(noisy) == [colour] * len(sprites)


def test_every_drawing_is_nearest_to_itself_and_not_to_another(sprites, icons):
    own = [i for i, icon in enumerate(icons) if icon.style == "noto"]
    known = describe(compose_on_white(sprites, own))
    right = torch.arange(len(own))
    assert (rank_own(known, known, right) == 0).all()
    assert (rank_own(known, known, right.roll(1)) > 0).all()


def test_blurred_and_shifted_drawings_are_still_nearest_to_themselves(sprites, icons):
    own = [i for i, icon in enumerate(icons) if icon.style == "noto"]
    images = compose_on_white(sprites, own)
    blurred = torch.nn.functional.avg_pool2d(images, 5, 1, 2, count_include_pad=False)
    ranks = rank_own(
        describe(blurred.roll((2, -2), dims=(2, 3))), describe(images), torch.arange(len(own))
    )
    assert (ranks == 0).float().mean() > 0.9


def test_twins_under_two_names_do_not_count_against_each_other(sprites):
    images = compose_on_white(sprites, [0, 0, 1])
    images[0, :, 64, 64] *= 0.99
    known = describe(images)
    query = known[:1]
    assert (query @ known[0]).item() > (query @ known[1]).item()
    assert rank_own(query, known, torch.tensor([1])).item() == 0
    assert rank_own(query, known, torch.tensor([2])).item() == 2


def test_style_is_that_of_the_nearest_drawing_of_the_concept(sprites, icons):
    subjects = Subjects(icons, sprites, SMOKE)
    noto, twemoji = subjects.list_style("noto"), subjects.list_style("twemoji")
    assert [icons[i].name for i in noto] == [icons[i].name for i in twemoji]
    images = compose_on_white(sprites, noto)
    assert compare_styles(subjects, images, noto) == {
        "style_nearest": 1.0,
        "chance_style_nearest": 0.5,
    }
    assert compare_styles(subjects, images, twemoji)["style_nearest"] == 0.0


@pytest.mark.slow
def test_classifier_learns_to_tell_lines_from_areas():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(80, 3, 64, 64, generator=generator) * 2 - 1
    areas = torch.nn.functional.avg_pool2d(noise, 9, 1, 4) * 4
    settings = assign(
        SMOKE, ["evaluation.classifier_steps=40", "evaluation.classifier_batch_size=16"]
    ).evaluation
    context = make_device_context("cpu", compiled=False)
    shown, styles = torch.cat((noise[:60], areas[:60])), torch.arange(2).repeat_interleave(60)
    classifier = train_classifier(shown, styles, settings, 0, context)
    seen = classify(classifier, torch.cat((noise[60:], areas[60:])), context)
    assert (seen == torch.arange(2).repeat_interleave(20)).float().mean() > 0.9


def test_psnr_is_that_of_the_textbook():
    black = torch.full((1, 3, 8, 8), -1.0)
    assert measure_psnr(black, black + 0.2).item() == pytest.approx(20.0, abs=1e-3)
    assert measure_psnr(black, -black).item() == pytest.approx(0.0, abs=1e-3)


def test_bytes_and_numbers_are_each_others_inverse():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    assert (to_bytes(from_bytes(pixels, CPU)).numpy() == pixels).all()
