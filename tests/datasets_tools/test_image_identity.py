"""Content ids, pixel digests, thumbnails, and how a file is called in a sentence."""

from pathlib import Path

import pytest
from PIL import ExifTags, Image

from datasets_tools.errors import DatasetError, show_name
from datasets_tools.images import (
    fingerprint,
    image_id,
    inspect_image,
    pixel_digest,
    read_size,
    write_thumbnail,
)


def test_content_id_follows_bytes_and_not_names(make_image, tmp_path):
    first = make_image("a.png", seed=1)
    copy = tmp_path / "b.png"
    copy.write_bytes(first.read_bytes())
    assert fingerprint(first) == fingerprint(copy) != fingerprint(make_image("c.png", seed=2))
    assert image_id(first) == fingerprint(first)[:16]
    assert inspect_image(first).id == fingerprint(first)
    with pytest.raises(DatasetError, match=r"gone\.png"):
        fingerprint(tmp_path / "gone.png")


def test_pixel_digest_ignores_the_file_format(make_image):
    same = [make_image("a.png", seed=1), make_image("a.bmp", seed=1)]
    assert pixel_digest(same[0]) == pixel_digest(same[1])
    assert pixel_digest(same[0]) != pixel_digest(make_image("b.png", seed=2))


def test_changed_file_is_inspected_anew(make_image):
    before = inspect_image(make_image("a.png", seed=1))
    after = inspect_image(make_image("a.png", (80, 80), seed=2))
    assert (before.width, after.width) == (64, 80)
    assert before.id != after.id


@pytest.mark.parametrize("name", ["t.jpg", "t.png", "t.webp"])
def test_thumbnail_is_small_upright_and_leaves_nothing_else(tmp_path, make_image, name):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = make_image("a.jpg", (600, 300), exif=exif)
    to = tmp_path / "thumbs" / name
    write_thumbnail(path, to, side=100)
    with Image.open(to) as thumbnail:
        assert thumbnail.size == (50, 100)
        assert not thumbnail.getexif()
    assert [file.name for file in to.parent.iterdir()] == [name]


def test_thumbnail_of_a_small_picture_is_not_enlarged(tmp_path, make_image):
    write_thumbnail(make_image("a.png"), tmp_path / "t.png")
    assert read_size(tmp_path / "t.png") == (64, 48)


def test_thumbnail_of_unknown_format_is_refused(tmp_path, make_image):
    with pytest.raises(DatasetError, match=r"t\.xyz"):
        write_thumbnail(make_image("a.png"), tmp_path / "t.xyz")


def test_shown_names_are_printable_and_short():
    assert show_name(Path("a\n\x1b[31m.png")) == "a??[31m.png"
    assert show_name(Path("caf\udce9.png")) == "caf?.png"
    assert len(show_name(Path("x" * 200))) == 80
