"""Remedies do what they say to the images that they are about, and each can be undone."""

import json

import numpy as np
import pytest
from PIL import Image

from datasets_tools.captions import TRASH_FOLDER, write_caption
from datasets_tools.checks.remedies import choose_crop, find_last_fix, fix_finding, undo_fix
from datasets_tools.checks.report import CheckOptions, check_dataset
from datasets_tools.checks.subject import CheckFinding
from datasets_tools.errors import DatasetError
from datasets_tools.rewriting import undo_rewriting


def read_all(folder):
    """The content of the dataset's files, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def fix(folder, code, **options):
    options = CheckOptions(**options)
    return fix_finding(folder, check_dataset(folder, options).find(code), options)


def test_copies_go_to_the_trash_and_come_back(make_dataset, make_image):
    folder = make_dataset(8)
    for name in ("first.png", "second.bmp", "third.png"):
        make_image(f"set/{name}", (512, 512), seed=7).with_suffix(".txt").write_text(name)
    before = read_all(folder)
    assert fix(folder, "duplicate_image").count == 2
    assert set(before) - set(read_all(folder)) == {
        "second.bmp", "second.txt", "third.png", "third.txt",
    }  # fmt: skip
    assert check_dataset(folder).find("duplicate_image") is None
    assert find_last_fix(folder) == "Moved 2 images to the trash (Duplicate)"
    assert undo_fix(folder).count == 2
    assert read_all(folder) == before
    assert (find_last_fix(folder), undo_fix(folder)) == ("", None)


def test_strip_is_cropped_and_its_original_comes_back(make_dataset, make_image):
    folder = make_dataset()
    make_image("set/image2.png", (2000, 512))
    before = read_all(folder)
    assert fix(folder, "extreme_aspect").message == "Cropped 1 image."
    with Image.open(folder / "image2.png") as cropped:
        assert cropped.size == (853, 512)  # the widest bucket is 640 x 384
    assert (folder / "image2.txt").read_text() == "mycat, picture 2"
    assert check_dataset(folder).find("extreme_aspect") is None
    undo_fix(folder)
    assert read_all(folder) == before


def test_caption_that_was_edited_after_the_crop_survives_its_undo(make_dataset, make_image):
    folder = make_dataset()
    path = make_image("set/image2.png", (2000, 512))
    fix(folder, "extreme_aspect")
    write_caption(path, "edited since")
    undo_fix(folder)
    with Image.open(path) as back:
        assert back.size == (2000, 512)
    assert path.with_suffix(".txt").read_text() == "edited since"


def test_trigger_is_put_first_once_and_undone(make_dataset):
    folder = make_dataset(10)
    (folder / "image3.txt").write_text("a cat")
    (folder / "image5.txt").write_text("mycat, a photo of MyCat")
    before = read_all(folder)
    assert fix(folder, "trigger_missing", trigger="mycat").count == 1
    assert (folder / "image3.txt").read_text() == "mycat, a cat"
    assert fix(folder, "trigger_repeated", trigger="mycat").count == 1
    assert (folder / "image5.txt").read_text().lower().count("mycat") == 1
    undo_rewriting(folder)
    undo_rewriting(folder)
    assert read_all(folder) == before


@pytest.mark.parametrize(("size", "wide"), [((900, 300), True), ((300, 900), False)])
def test_crop_goes_where_the_detail_is(size, wide):
    grey = np.full((size[1], size[0]), 128, dtype=np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (300, 200), dtype=np.uint8)
    if wide:
        grey[:, 690:890] = noise
    else:
        grey[690:890] = noise.T
    box = choose_crop(Image.fromarray(grey).convert("RGB"), CheckOptions())
    left, right = (box[0], box[2]) if wide else (box[1], box[3])
    assert left <= 690 < 890 <= right
    assert (right - left, box[3] if wide else box[2]) == (500, 300)


def test_crop_of_an_even_image_is_its_middle():
    box = choose_crop(Image.new("RGB", (1000, 250)), CheckOptions())
    assert box == (291, 0, 708, 250)  # 417 of 1000, which 5 : 3 makes of 250


def test_finding_without_a_remedy_says_so(make_dataset):
    finding = CheckFinding("few_images", "Few images", "warning", "There are 6 images.")
    with pytest.raises(DatasetError, match="cannot be fixed by a command"):
        fix_finding(make_dataset(6), finding, CheckOptions())


def test_record_of_a_stranger_reaches_nothing_outside_the_dataset(make_dataset, tmp_path):
    folder = make_dataset(5)
    outside = tmp_path / "000007"
    outside.mkdir()
    (outside / "a.png").write_bytes(b"x")
    (folder / TRASH_FOLDER).mkdir()
    record = {"what": "x", "entries": ["../../000007", 7], "made": ["../image0.png"]}
    (folder / TRASH_FOLDER / "fix-000001.json").write_text(json.dumps(record))
    before = read_all(folder)
    undo_fix(folder)
    assert read_all(folder) == before
    assert (outside / "a.png").exists()
