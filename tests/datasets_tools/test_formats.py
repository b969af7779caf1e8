"""A file that cannot be read is called what it is; a sound one is never called damaged."""

import sys
from io import BytesIO

import pytest
from PIL import Image

from datasets_tools import formats
from datasets_tools.errors import DatasetError
from datasets_tools.image_import import import_image
from datasets_tools.images import inspect_image, read_image, read_size
from datasets_tools.masks import read_mask

HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 300


def complaint(path):
    with pytest.raises(DatasetError) as caught:
        read_image(path)
    with pytest.raises(DatasetError) as again:
        inspect_image(path)
    assert str(again.value) == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: it has no bytes"),
        (b"<html>404</html>", "is a web page and not an image: its download went wrong"),
        (b"\n <!DOCTYPE html>\n<p>", "is a web page"),
        (b'<?xml version="1.0"?><svg width="9"/>', "is an SVG file, which is not read here"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"8BPS\0\1", "is a Photoshop file, which is not read here"),
        (b"\xff\x0a\0\0", "is a JPEG XL image"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41", "is a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "is a raw camera file"),
        (b"RIFF\0\0\0\0AVI LIST", "is a video"),
        (b"PK\3\4rest", "is a zip archive"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"some words", "is not an image that can be read"),
    ],
)
def test_file_that_is_no_image_is_called_what_it_is(tmp_path, content, words):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    message = complaint(path)
    assert message.startswith("a.jpg ")
    assert words in message
    assert "damaged" not in message
    assert message.endswith(".")


def test_heic_without_its_package_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # an import of it fails
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC_HEAD)
    message = complaint(tmp_path / "IMG_1.HEIC")
    assert "IMG_1.HEIC is a HEIC photo" in message
    assert formats.HEIC_EXTRA in message


def test_heic_is_read_upright_and_a_cut_one_is_refused(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    stored = Image.new("RGB", (64, 32), "blue")
    stored.paste("red", (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: its left top comes to the right top
    path = tmp_path / "photo.HEIC"
    pillow_heif.from_pillow(stored).save(path, quality=100, exif=exif.tobytes())
    image = read_image(path)
    assert image.size == read_size(path) == (32, 64)
    red, _, blue = image.getpixel((28, 8))
    assert red > 200 > 60 > blue
    arrived = import_image(path, tmp_path / "set")
    assert read_image(arrived).size == (32, 64)
    path.write_bytes(path.read_bytes()[:-40])
    assert "a HEIC photo that cannot be read to its end" in complaint(path)


def test_avif_that_pillow_cannot_read_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(formats.features, "check", lambda name: False)
    path = tmp_path / "a.avif"
    path.write_bytes(b"\0\0\0\x1cftypavif" + b"\0" * 200)
    assert "Install a newer one with pip install -U pillow" in complaint(path)


def test_jpeg_that_lacks_only_its_end_marker_is_sound(tmp_path, make_image):
    path = make_image("a.jpg", (200, 150), quality=90)
    whole = read_image(path)
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    assert read_image(path).tobytes() == whole.tobytes()
    assert inspect_image(path).width == 200
    mask = tmp_path / "masks" / "b.jpg"
    mask.parent.mkdir()
    mask.write_bytes(content[:-2])
    assert read_mask(tmp_path / "b.png", "folder", (200, 150)).size == (200, 150)


@pytest.mark.parametrize("missing", [12, 100, 1000])
def test_jpeg_that_lacks_a_part_of_the_image_is_refused(make_image, missing):
    path = make_image("a.jpg", (200, 150), quality=90)
    path.write_bytes(path.read_bytes()[:-missing])
    assert "a.jpg is damaged or cut short" in complaint(path)


def test_jpeg_of_twelve_bits_is_not_called_damaged(tmp_path, make_image):
    path = make_image("a.jpg")
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    assert data[frame + 4] == 8
    data[frame + 4] = 12
    path.write_bytes(data)
    assert "a JPEG of a rare variant (12 bits" in complaint(path)


def test_tiff_of_numbers_that_are_no_colours_is_not_called_damaged_alone(tmp_path):
    path = tmp_path / "a.tif"
    Image.new("F", (32, 32), 0.5).save(path)
    assert "a TIFF image that cannot be read to its end" in complaint(path)
    assert "8-bit PNG or JPEG" in complaint(path)


@pytest.mark.parametrize("mode", ["I;16", "CMYK", "RGBA", "L", "1", "P"])
def test_modes_of_tiff_are_read(tmp_path, mode):
    memory = BytesIO()
    image = Image.new("I;16", (32, 32), 257 * 90) if mode == "I;16" else Image.new("RGB", (32, 32))
    (image if mode == "I;16" else image.convert(mode)).save(memory, "TIFF")
    (tmp_path / "a.tif").write_bytes(memory.getvalue())
    assert read_image(tmp_path / "a.tif").getpixel((3, 3)) == (
        (90, 90, 90) if mode == "I;16" else (0, 0, 0)
    )
