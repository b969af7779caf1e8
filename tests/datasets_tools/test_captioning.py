"""Captioning a folder with captioners that are plain functions."""

import pytest
from PIL import Image

from datasets_tools.captioning import caption_folder
from datasets_tools.captions import write_caption
from datasets_tools.errors import DatasetError
from datasets_tools.rewriting import undo_rewriting

COLOURS = {"a": "red", "b": "blue", "c": "lime", "image10": "black", "image2": "white"}
NAMES = ["a.png", "b.png", "c.png", "image2.png", "image10.png"]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "dataset"
    place.mkdir()
    for stem, colour in COLOURS.items():
        Image.new("RGB", (32, 24), colour).save(place / f"{stem}.png")
    return place


def name_colour(image):
    """A captioner that tells three colours from a pixel, and nothing else."""
    assert image.mode == "RGB"
    known = {(255, 0, 0): "a red card", (0, 0, 255): "a blue card", (255, 255, 255): "a white card"}
    return known.get(image.getpixel((16, 12)), "")


def run(folder, existing="keep", describe=name_colour):
    """Returns what was reported and how often each outcome came."""
    reports = []
    tally = caption_folder(folder, describe, existing, reports.append, "Suggested by a test")
    return reports, tally


def read_captions(folder):
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))}


def test_captions_land_beside_the_images_in_the_order_of_the_dataset(folder):
    reports, tally = run(folder)
    assert read_captions(folder) == {
        "a": "a red card",
        "b": "a blue card",
        "image2": "a white card",
    }
    assert [each.image for each in reports] == NAMES
    assert [each.done for each in reports] == [1, 2, 3, 4, 5]
    assert {each.total for each in reports} == {5}
    assert tally == {"written": 3, "unsure": 2, "kept": 0, "failed": 0}
    assert reports[0].caption == "a red card"
    assert reports[2].outcome == "unsure"
    assert reports[2].caption == ""


@pytest.mark.parametrize(
    ("existing", "caption", "outcome"),
    [
        ("keep", "my words", "kept"),
        ("append", "my words, a red card", "written"),
        ("replace", "a red card", "written"),
    ],
)
def test_a_caption_that_is_there_is_kept_continued_or_replaced(folder, existing, caption, outcome):
    write_caption(folder / "a.png", "my words,")
    write_caption(folder / "c.png", "lime")
    reports, tally = run(folder, existing)
    assert read_captions(folder)["a"].rstrip(",") == caption
    assert reports[0].outcome == outcome
    assert reports[0].caption.rstrip(",") == caption
    # Where the captioner cannot tell, what is there stays, whatever was asked.
    assert read_captions(folder)["c"] == "lime"
    assert sum(tally.values()) == 5


def test_a_captioner_is_not_asked_about_a_caption_that_is_kept(folder):
    for name in NAMES[1:]:
        write_caption(folder / name, "mine")
    asked = []
    run(folder, describe=lambda image: asked.append(image) or "x")
    assert len(asked) == 1


@pytest.mark.parametrize("existing", ["append", "replace"])
def test_doing_it_twice_changes_nothing(folder, existing):
    write_caption(folder / "a.png", "mine")
    run(folder, existing)
    before = read_captions(folder)
    reports, tally = run(folder, existing)
    assert read_captions(folder) == before
    assert tally == {"written": 0, "unsure": 2, "kept": 3, "failed": 0}
    assert reports[0].message == "The caption is the same already."


def test_a_broken_image_and_a_broken_caption_do_not_end_the_rest(folder):
    (folder / "b.png").write_bytes(b"no image")
    (folder / "image2.txt").write_bytes(b"\xff\xfe\xff")
    reports, tally = run(folder, "replace")
    assert tally == {"written": 1, "unsure": 2, "kept": 0, "failed": 2}
    failed = {each.image: each.message for each in reports if each.outcome == "failed"}
    assert "not an image that can be read" in failed["b.png"]
    assert "not UTF-8" in failed["image2.png"]
    assert (folder / "image2.txt").read_bytes() == b"\xff\xfe\xff"
    assert (folder / "a.txt").read_text() == "a red card"


def test_an_image_that_cannot_be_described_does_not_end_the_rest(folder):
    def describe(image):
        if image.getpixel((0, 0)) == (0, 0, 255):
            raise DatasetError("The picture is too blue. Choose another.")
        return name_colour(image)

    reports, tally = run(folder, describe=describe)
    assert tally == {"written": 2, "unsure": 2, "kept": 0, "failed": 1}
    assert reports[1].message == "The picture is too blue. Choose another."


def test_a_caption_that_was_edited_meanwhile_is_kept(folder):
    def describe(image):
        # Somebody types into the captions of the picture in work, and of one that comes later.
        write_caption(folder / "a.png", "typed by a person")
        write_caption(folder / "b.png", "typed, too")
        return name_colour(image)

    write_caption(folder / "b.png", "old")
    reports, tally = run(folder, "replace", describe)
    assert read_captions(folder)["a"] == "typed by a person"
    assert read_captions(folder)["b"] == "typed, too"
    assert [each.outcome for each in reports[:2]] == ["kept", "kept"]
    assert reports[0].caption == "typed by a person"
    assert "edited meanwhile" in reports[0].message
    assert tally["written"] == 1


def test_images_that_share_a_caption_are_captioned_once(folder):
    Image.new("RGB", (32, 24), "blue").save(folder / "a.bmp")
    reports, tally = run(folder, "append")
    assert [each.image for each in reports[:2]] == ["a.bmp", "a.png"]
    assert read_captions(folder)["a"] == "a blue card"
    assert reports[1].outcome == "kept"
    assert "shares its caption with a.bmp" in reports[1].message
    assert tally["written"] == 3


def test_an_interruption_leaves_whole_captions_that_can_be_taken_back(folder):
    write_caption(folder / "a.png", "mine")

    def describe(image):
        if image.getpixel((0, 0)) == (0, 255, 0):
            raise KeyboardInterrupt
        return name_colour(image)

    with pytest.raises(KeyboardInterrupt):
        run(folder, "append", describe)
    assert read_captions(folder) == {"a": "mine, a red card", "b": "a blue card"}
    assert [path for path in folder.iterdir() if path.suffix == ".tmp"] == []
    undone = undo_rewriting(folder)
    assert undone.what == "Suggested by a test"
    assert undone.restored == 2
    assert read_captions(folder) == {"a": "mine"}


def test_pictures_are_read_as_the_trainer_reads_them(folder):
    for path in folder.iterdir():
        path.unlink()
    seen = []
    clear = Image.new("RGBA", (40, 20), (255, 0, 0, 0))
    clear.save(folder / "clear.png")
    turned = Image.new("RGB", (40, 20), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    run(folder, describe=lambda image: seen.append(image) or "x")
    assert [(image.mode, image.size) for image in seen] == [("RGB", (40, 20)), ("RGB", (20, 40))]
    assert seen[0].getpixel((5, 5)) == (255, 255, 255)


def test_a_folder_that_is_missing_or_empty_is_told(tmp_path):
    with pytest.raises(DatasetError, match="There is no folder nowhere"):
        run(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="contains no images"):
        run(tmp_path)
