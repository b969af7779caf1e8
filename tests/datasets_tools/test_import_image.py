"""Uploads arrive in the dataset folder under our names, without metadata, once."""

import errno
import os
import threading

import pytest
from PIL import ExifTags, Image, ImageChops, PngImagePlugin

from datasets_tools.errors import DatasetError
from datasets_tools.image_import import import_image
from datasets_tools.images import read_image


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("my cat.png", "my-cat.png"),
        ("IMG_0001.JPG", "IMG_0001.jpg"),
        ("été à Zürich.png", "ete-a-Zurich.png"),
        ("猫.png", "image.png"),
        ("a;rm -rf $(x) `y` 'q'.png", "a-rm-rf-x-y-q.png"),
        ("-rf.png", "rf.png"),
        ("x" * 200 + ".png", "x" * 60 + ".png"),
        (".hidden.png", "hidden.png"),
    ],
)
def test_file_name_is_made_of_harmless_letters(tmp_path, make_image, name, wanted):
    path = import_image(make_image(name), tmp_path / "set")
    assert path == tmp_path / "set" / wanted
    assert [file.name for file in (tmp_path / "set").iterdir()] == [wanted]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("<script>alert(1).png", "script-alert-1.png"),
        ("..\\..\\windows.png", "windows.png"),
        ("!?.png", "image.png"),
        ("con.png", "image-con.png"),
        ("Lpt1.png", "image-Lpt1.png"),
        ("line\nbreak.png", "line-break.png"),
    ],
)
def test_name_that_not_every_system_has_is_changed(tmp_path, make_image, name, wanted, free_names):
    assert import_image(make_image(name), tmp_path / "set") == tmp_path / "set" / wanted


def test_climbing_source_path_cannot_leave_the_folder(tmp_path, make_image):
    make_image("x.png")
    (tmp_path / "deep").mkdir()
    path = import_image(tmp_path / "deep" / ".." / "x.png", tmp_path / "set")
    assert path == tmp_path / "set" / "x.png"


def test_metadata_does_not_arrive(tmp_path, make_image, wide_profile):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera of Jane"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (47.0, 22.0, 0.0)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "Camera of Jane")
    how = {"exif": exif, "icc_profile": wide_profile}
    sources = [
        make_image("a.jpg", comment=b"Camera of Jane", **how),
        make_image("b.png", pnginfo=text, **how),
        make_image("c.webp", **how),
    ]
    for source in sources:
        assert b"Camera of Jane" in source.read_bytes()
        path = import_image(source, tmp_path / "set")
        assert b"Camera of Jane" not in path.read_bytes()
        with Image.open(path) as image:
            assert not image.getexif()
            assert not {"exif", "icc_profile", "comment", "Comment", "xmp"} & set(image.info)


def test_pixels_arrive_upright_and_unharmed(tmp_path, make_image):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    png = make_image("a.png", (64, 40), exif=exif)
    assert read_image(import_image(png, tmp_path / "set")).tobytes() == read_image(png).tobytes()
    assert read_image(png).size == (40, 64)
    photo = tmp_path / "b.jpg"
    Image.radial_gradient("L").convert("RGB").save(photo, quality=90, exif=exif)
    copy = read_image(import_image(photo, tmp_path / "set"))
    difference = ImageChops.difference(copy, read_image(photo)).getextrema()
    assert max(high for _, high in difference) <= 4


def test_name_that_is_taken_gets_a_number(tmp_path, make_image):
    folder = tmp_path / "set"
    paths = []
    for number, name in enumerate(["a/cat.png", "b/cat.png", "c/Cat.jpg"]):
        paths.append(import_image(make_image(name, seed=number), folder).name)
    assert paths == ["cat.png", "cat-2.png", "Cat-3.jpg"]


def test_new_image_does_not_inherit_a_caption_that_lies_around(tmp_path, make_image):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat.txt").write_text("another cat")
    assert import_image(make_image("cat.png"), tmp_path / "set").name == "cat-2.png"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_same_picture_is_added_once(tmp_path, make_image, suffix):
    folder = tmp_path / "set"
    source = make_image(f"cat{suffix}", seed=1)
    renamed = make_image(f"dog{suffix}", seed=1)
    first = import_image(source, folder)
    assert import_image(renamed, folder) == first
    assert import_image(first, folder) == first
    assert len(list(folder.iterdir())) == 1


def test_picture_that_was_put_there_by_hand_is_recognised(tmp_path, make_image):
    by_hand = make_image("set/cat.bmp", seed=1)
    make_image("set/broken.png").write_bytes(b"no picture")
    assert import_image(make_image("dog.png", seed=1), tmp_path / "set") == by_hand


def test_refused_upload_leaves_nothing(tmp_path, make_image):
    text = tmp_path / "text.png"
    text.write_text("hello")
    truncated = make_image("cut.jpg", (300, 300))
    truncated.write_bytes(truncated.read_bytes()[:2000])
    for source in (text, truncated, make_image("dot.png", (1, 1))):
        with pytest.raises(DatasetError, match=source.name):
            import_image(source, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_full_disk_leaves_nothing(tmp_path, make_image, monkeypatch, call):
    def fail(*args, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    source = make_image("cat.png")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(DatasetError, match=r"cat\.png could not be saved: the disk is full"):
        import_image(source, tmp_path / "set")
    assert list((tmp_path / "set").iterdir()) == []


def test_folder_that_cannot_be_made_is_named(tmp_path, make_image):
    source = make_image("cat.png")
    (tmp_path / "set").write_text("a file, not a folder")
    with pytest.raises(DatasetError, match="folder set cannot be made"):
        import_image(source, tmp_path / "set")


def test_uploads_at_the_same_time_do_not_overwrite_each_other(tmp_path, make_image):
    sources = [make_image(f"{number}/cat.png", seed=number) for number in range(12)]
    found = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(import_image(one, tmp_path / "set")))
        for one in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(list((tmp_path / "set").iterdir())) == len(sources)
