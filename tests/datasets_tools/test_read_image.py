"""Every kind of picture arrives as upright RGB; every kind of rubbish is refused by name."""

import io
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageFile

from datasets_tools.errors import DatasetError
from datasets_tools.images import (
    MIN_SIDE,
    inspect_image,
    read_image,
    read_size,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def near(pixel, wanted, within=6):
    return all(abs(a - b) <= within for a, b in zip(pixel, wanted, strict=True))


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif.tobytes()


@pytest.mark.parametrize(
    "suffix",
    [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".gif", ".tif", ".TIFF", ".jfif", ".avif"],
)
def test_every_accepted_format_is_read_as_rgb(make_image, suffix):
    image = read_image(make_image(f"a{suffix}"))
    assert (image.mode, image.size) == ("RGB", (64, 48))


def test_file_is_read_by_content_and_not_by_suffix(make_image, tmp_path):
    make_image("a.jpg").rename(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (64, 48)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_picture_is_upright_whatever_its_exif_says(tmp_path, turn, suffix):
    upright = Image.new("RGB", (64, 32), BLUE)
    upright.paste(RED, (0, 0, 32, 16))
    inverse = {6: 8, 8: 6}.get(turn, turn)
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }[inverse]
    path = tmp_path / f"a{suffix}"
    stored = upright.transpose(turned) if turned is not None else upright
    stored.save(path, exif=orientation(turn), quality=100)
    image = read_image(path)
    assert image.size == read_size(path) == (64, 32)
    assert near(image.getpixel((8, 4)), RED)
    assert near(image.getpixel((56, 28)), BLUE)


def test_orientation_behind_the_pixels_of_a_png_counts(tmp_path, png_file):
    path = tmp_path / "a.png"
    rows = b"".join(b"\0" + bytes([row] * 64) for row in range(32))
    path.write_bytes(png_file((64, 32), 8, 0, rows, behind=orientation(6)[6:]))
    assert read_size(path) == read_image(path).size == (32, 64)


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", orientation(77), orientation(0)])
def test_senseless_exif_leaves_the_picture_as_it_is(make_image, exif):
    path = make_image("a.jpg", exif=exif)
    assert read_image(path).size == read_size(path) == (64, 48)


def test_cmyk_jpeg_is_converted(tmp_path):
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    image = read_image(tmp_path / "a.jpg")
    assert image.mode == "RGB"
    assert near(image.getpixel((9, 9)), RED)


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, png_file):
    levels = [0, 128, 257, 20_000, 32_896, 40_000, 65_000, 65_535] * 4
    row = b"\0" + b"".join(level.to_bytes(2, "big") for level in levels)
    path = tmp_path / "a.png"
    path.write_bytes(png_file((32, 32), 16, 0, row * 32))
    image = read_image(path)
    assert image.mode == "RGB"
    got = [image.getpixel((x, 5))[0] for x in range(8)]
    assert got == [round(level / 257) for level in levels[:8]]


def test_16_bit_colour_is_scaled_and_not_clipped(tmp_path, png_file):
    pixel = b"\x80\x80\x40\x40\xff\xff"
    path = tmp_path / "a.png"
    path.write_bytes(png_file((32, 32), 16, 2, (b"\0" + pixel * 32) * 32))
    assert near(read_image(path).getpixel((3, 3)), (0x80, 0x40, 0xFF), within=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(tmp_path, mode):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 32, 64))
    image.convert(mode).save(tmp_path / "a.png")
    if mode == "P":
        indexed = Image.new("P", (64, 64), 1)
        indexed.putpalette([0, 0, 0, 10, 20, 30])
        indexed.paste(0, (0, 0, 32, 64))
        indexed.save(tmp_path / "a.png", transparency=1)
    read = read_image(tmp_path / "a.png")
    assert (read.getpixel((10, 10)), read.getpixel((50, 10))) == ((0, 0, 0), WHITE)


def test_half_transparent_red_becomes_pink(tmp_path):
    Image.new("RGBA", (32, 32), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert near(read_image(tmp_path / "a.png").getpixel((0, 0)), (255, 127, 127), within=1)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_plain_indexed_and_grey_pictures_are_read(tmp_path, mode):
    Image.new("RGB", (32, 32), WHITE).convert(mode).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").getpixel((1, 1)) == WHITE


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".tif", ".avif"])
def test_first_frame_of_an_animation_is_read(tmp_path, suffix):
    first, second = Image.new("RGB", (32, 32), RED), Image.new("RGB", (32, 32), BLUE)
    path = tmp_path / f"a{suffix}"
    first.save(path, save_all=True, append_images=[second], lossless=True)
    with Image.open(path) as stored:
        assert stored.n_frames == 2
    assert near(read_image(path).getpixel((5, 5)), RED)


def test_profile_that_changes_nothing_or_makes_no_sense_is_ignored(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in {"plain": None, "srgb": srgb, "foreign": lab, "broken": b"x"}.items():
        Image.new("RGB", (32, 32), GREEN).save(tmp_path / f"{name}.png", icc_profile=profile)
        assert near(read_image(tmp_path / f"{name}.png").getpixel((0, 0)), GREEN, within=1), name


def test_wide_gamut_colours_are_brought_to_srgb(tmp_path, wide_profile):
    path = tmp_path / "a.png"
    for mode in ("RGB", "RGBA", "P"):
        image = Image.new("RGB", (32, 32), (200, 100, 50))
        image = image.quantize(4) if mode == "P" else image.convert(mode)
        image.save(path, icc_profile=wide_profile)
        red, green, blue = read_image(path).getpixel((0, 0))
        assert (red, green, blue) != (200, 100, 50)
        assert red > 205
        assert green < 100


def test_text_file_named_png_is_refused_by_name(tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    for read in (read_image, read_size, inspect_image):
        with pytest.raises(DatasetError, match=r"notes\.png is not an image.*remove it\."):
            read(tmp_path / "notes.png")


@pytest.mark.parametrize("kind", ["EPS", "PPM", "ICO", "TGA"])
def test_formats_that_we_do_not_accept_are_refused(tmp_path, kind):
    Image.new("RGB", (32, 32), RED).save(tmp_path / "a.jpg", kind)
    with pytest.raises(DatasetError, match=r"a\.jpg is (?!damaged).*or remove it\.$"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_picture_is_reported_by_name(make_image, name, share):
    path = make_image(name, (200, 150))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    for read in (read_image, inspect_image):
        with pytest.raises(DatasetError, match=rf"{name} is (damaged|not an image)"):
            read(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("size", [(1, 1), (MIN_SIDE - 1, 500), (500, MIN_SIDE - 1)])
def test_tiny_picture_is_refused_with_its_size(make_image, size):
    path = make_image("dot.png", size)
    for read in (read_image, read_size):
        with pytest.raises(DatasetError, match=rf"dot\.png is too small: {size[0]} x {size[1]}"):
            read(path)


def test_smallest_allowed_picture_is_read(make_image):
    assert read_image(make_image("a.png", (MIN_SIDE, MIN_SIDE))).size == (MIN_SIDE, MIN_SIDE)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [30_000, 10_000, 8_001])
def test_huge_picture_is_refused_from_its_header(tmp_path, png_file, monkeypatch, side):
    path = tmp_path / "huge.png"
    path.write_bytes(png_file((side, side), 1, 0, bytes((side + 7) // 8 + 1) * side))

    def decode(image):
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    for read in (read_image, read_size, inspect_image):
        with pytest.raises(DatasetError, match=r"huge\.png is too large: .*64 million"):
            read(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_size_is_read_without_decoding(make_image, monkeypatch, suffix):
    path = make_image(f"a{suffix}")

    def decode(image):
        raise AssertionError("the picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    assert read_size(path) == (64, 48)


def test_missing_file_folder_and_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("none.png", "pipe.png", "folder.png"):
        with pytest.raises(DatasetError, match=f"no image file {name}"):
            read_image(tmp_path / name)
        with pytest.raises(DatasetError):
            inspect_image(tmp_path / name)


@pytest.mark.parametrize("target", ["nowhere.png", "link.png"])
def test_link_that_leads_nowhere_is_called_that(tmp_path, target):
    (tmp_path / "link.png").symlink_to(tmp_path / target)
    with pytest.raises(DatasetError, match=r"link\.png is a link that leads nowhere"):
        read_image(tmp_path / "link.png")


def small_files() -> list[bytes]:
    image = Image.radial_gradient("L").resize((24, 20)).convert("RGB")
    files = []
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"):
        memory = io.BytesIO()
        plain = kind in ("BMP", "GIF")
        image.save(memory, kind) if plain else image.save(memory, kind, exif=orientation(6))
        files.append(memory.getvalue())
    return files


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    whole=st.sampled_from(small_files()),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    share=st.floats(0.05, 1),
)
def test_damaged_bytes_raise_only_our_error(tmp_path, whole, changes, share):
    data = bytearray(whole)
    for place, value in changes:
        data[int(place * len(data))] = value
    path = tmp_path / "fuzz.png"
    path.write_bytes(data[: int(len(data) * share)])
    image, image_complaint = attempt(read_image, path)
    facts, facts_complaint = attempt(inspect_image, path)
    assert image_complaint == facts_complaint
    assert "fuzz.png" in image_complaint or image.size == (facts.width, facts.height)


def attempt(read, path):
    try:
        return read(path), ""
    except DatasetError as error:
        return None, str(error)
