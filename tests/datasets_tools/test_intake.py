"""Images arrive with their captions and masks, from files, folders, zips and kohya's trees."""

import zipfile

import pytest
from PIL import Image

from datasets_tools.errors import DatasetError
from datasets_tools.examples import scan_folder
from datasets_tools.intake import Source, list_sources, take_in
from datasets_tools.masks import find_mask


@pytest.fixture
def target(tmp_path):
    return tmp_path / "workspace" / "set"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def show(folder):
    return [(one.name, one.repeats, one.caption) for one in scan_folder(folder)[0]]


@pytest.fixture
def every_caption(tmp_path, make_image):
    """A folder in which each image has its caption, or mask, in another way."""
    for number, ending in enumerate(["txt", "TXT", "caption", "png.txt"]):
        make_image(f"in/img{number}.png")
        write(tmp_path / "in" / f"img{number}.{ending}", f"text {number}")
    make_image("in/img4.png")
    write(tmp_path / "in" / "metadata.jsonl", '{"file_name": "img4.png", "text": "text 4"}')
    make_image("in/img0-masklabel.png")
    make_image("in/masks/img1.png")
    return tmp_path / "in"


def check_every_caption(folder, intake):
    assert [caption for _, _, caption in show(folder)] == [f"text {n}" for n in range(5)]
    assert scan_folder(folder)[1] == []
    assert (len(intake.images), intake.known, intake.captions, intake.masks) == (5, 0, 5, 2)
    assert (intake.refused, intake.unused) == ([], [])
    masks = [find_mask(path) is not None for path in sorted(intake.images)]
    assert masks == [True, True, False, False, False]


def test_folder_arrives_with_captions_and_masks(every_caption, target):
    check_every_caption(target, take_in(list_sources([every_caption]), target))
    assert not (target / "in").exists()


def test_loose_files_find_each_other(every_caption, target):
    files = [path for path in every_caption.iterdir() if path.is_file()]
    intake = take_in(list_sources(files), target)
    assert [caption for _, _, caption in show(target)] == [f"text {n}" for n in range(5)]
    assert (len(intake.images), intake.captions, intake.masks) == (5, 5, 1)


@pytest.mark.parametrize("inside", ["", "deep/down/"])
def test_zip_arrives_with_captions_and_masks(every_caption, target, tmp_path, inside):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for file in every_caption.rglob("*"):
            if file.is_file():
                packed.write(file, inside + file.relative_to(every_caption).as_posix())
    check_every_caption(target, take_in([Source(path, "set.zip")], target))
    assert [one.name for one in target.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize("how", ["folder", "zip"])
def test_tree_of_kohya_arrives_with_its_repeats(tmp_path, make_image, target, how):
    for number, name in enumerate(["10_mycat cat/a", "10_mycat cat/b", "3_reg/a"]):
        path = make_image(f"tree/img/{name}.png", seed=number)
        write(path.with_suffix(".txt"), f"text {number}")
    write(tmp_path / "tree" / "log" / "events.out", "x")
    if how == "zip":
        with zipfile.ZipFile(tmp_path / "tree.zip", "w") as packed:
            for file in (tmp_path / "tree").rglob("*.*"):
                packed.write(file, file.relative_to(tmp_path).as_posix())
    source = tmp_path / ("tree.zip" if how == "zip" else "tree")
    intake = take_in(list_sources([source]), target)
    assert show(target) == [
        ("10_mycat cat/a.png", 10, "text 0"),
        ("10_mycat cat/b.png", 10, "text 1"),
        ("3_reg/a.png", 3, "text 2"),
    ]
    assert intake.unused == [
        "Not used: 1 other file (events.out): move them away if nothing is missing."
    ]


def test_folder_with_repeats_keeps_them_alone_and_joins_its_group_again(make_image, target):
    first = make_image("10_cat/a.png")
    take_in(list_sources([first.parent]), target)
    make_image("4_cat/b.png")
    take_in(list_sources([first.parent.parent / "4_cat"]), target)
    assert [one[:2] for one in show(target)] == [("10_cat/a.png", 10), ("10_cat/b.png", 10)]


def test_folders_without_repeats_become_groups_that_count_once(tmp_path, make_image, target):
    for name in ("in/a.png", "in/cats/a.png", "in/dogs/small/a.png"):
        make_image(name)
    take_in(list_sources([tmp_path / "in"]), target)
    assert [one[:2] for one in show(target)] == [
        ("a.png", 1), ("1_cats/a.png", 1), ("1_dogs-small/a.png", 1),
    ]  # fmt: skip


def test_groups_of_one_title_in_a_tree_stay_apart(tmp_path, make_image, target):
    for number, name in enumerate(["in/img/10_cat/a.png", "in/reg/1_cat/a.png"]):
        make_image(name, seed=number)
    take_in(list_sources([tmp_path / "in"]), target)
    assert [one[:2] for one in show(target)] == [("10_cat/a.png", 10), ("1_reg-1_cat/a.png", 1)]


def test_rows_about_sub_folders_reach_their_images(tmp_path, make_image, target):
    make_image("in/train/a.png")
    make_image("in/b.png")
    rows = '{"file_name": "train/a.png", "text": "one"}\n{"file_name": "b.png", "text": "two"}'
    write(tmp_path / "in" / "metadata.jsonl", rows)
    intake = take_in(list_sources([tmp_path / "in"]), target)
    assert [caption for *_, caption in show(target)] == ["two", "one"]
    assert intake.unused == []


def test_captions_that_come_later_reach_their_images(tmp_path, make_image, target):
    take_in([Source(make_image("in/my cat!.png"), "my cat!.png")], target)
    late = write(tmp_path / "in" / "my cat!.txt", "a red cat")
    other = write(tmp_path / "in" / "dog.txt", "a dog")
    intake = take_in(list_sources([late, other]), target)
    assert [caption for *_, caption in show(target)] == ["a red cat"]
    assert intake.captions == 1
    assert intake.unused == [
        "Not used: 1 text without an image of its name (dog.txt): name each like its image."
    ]
    late.write_text("another")
    intake = take_in(list_sources([late]), target)  # what a person has is not replaced
    assert [caption for *_, caption in show(target)] == ["a red cat"]
    assert "my cat!.txt" in intake.unused[0]


def test_known_image_gets_only_the_caption_it_lacks(make_image, target):
    image = make_image("in/a.png")
    take_in([Source(image, "a.png")], target)
    write(image.with_suffix(".txt"), "a cat")
    intake = take_in(list_sources([image.parent]), target)
    assert (len(intake.images), intake.known, intake.captions) == (0, 1, 1)
    write(image.with_suffix(".txt"), "a dog")
    assert take_in(list_sources([image.parent]), target).captions == 0
    assert [caption for *_, caption in show(target)] == ["a cat"]


def test_what_cannot_be_used_is_reported_and_the_rest_arrives(tmp_path, make_image, target):
    make_image("in/a.png")
    write(tmp_path / "in" / "b.png", "<html>")
    Image.new("L", (90, 20)).save(tmp_path / "in" / "a-masklabel.png")
    write(tmp_path / "in" / "clip.mp4", "x")
    write(tmp_path / "in" / "bad.zip", "x")

    def check(path):
        if path.name == "c.png":
            raise DatasetError("c.png is one too many.")

    make_image("in/c.png")
    intake = take_in(list_sources([tmp_path / "in"]), target, check)
    assert [path.name for path in intake.images] == ["a.png"]
    assert sorted(line.split(" ")[0] for line in intake.refused) == [
        "The",
        "b.png",
        "bad.zip",
        "c.png",
    ]
    assert intake.unused == ["Not used: 1 video (clip.mp4): save single frames as PNG."]


def test_zip_in_a_zip_is_said(tmp_path, make_image, target):
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as packed:
        packed.write(make_image("a.png"), "a.png")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as packed:
        packed.write(tmp_path / "inner.zip", "inner.zip")
        packed.write(make_image("b.png"), "b.png")
    intake = take_in(list_sources([tmp_path / "outer.zip"]), target)
    assert [path.name for path in intake.images] == ["b.png"]
    assert intake.unused == ["Not used: 1 archive (inner.zip): unpack them."]


def test_links_to_folders_are_not_followed(tmp_path, make_image, target):
    make_image("in/a.png")
    make_image("secret/b.png")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "secret")
    take_in(list_sources([tmp_path / "in"]), target)
    assert [one[0] for one in show(target)] == ["a.png"]


def test_many_images_arrive_at_once_and_none_twice(tmp_path, target):
    colours = [(number % 256, number // 256, 7) for number in range(150)]
    (tmp_path / "in").mkdir()
    for number, colour in enumerate(colours):
        Image.new("RGB", (32, 32), colour).save(tmp_path / "in" / f"img{number}.png")
        write(tmp_path / "in" / f"img{number}.txt", f"text {number}")
    intake = take_in(list_sources([tmp_path / "in"]), target)
    assert (len(intake.images), intake.captions, intake.refused) == (150, 150, [])
    examples = scan_folder(target)[0]
    assert [one.caption for one in examples] == [f"text {number}" for number in range(150)]
    again = take_in(list_sources([tmp_path / "in"]), target)
    assert (len(again.images), again.known, again.captions) == (0, 150, 0)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_image_of_100_megapixels_is_refused_by_name_and_the_rest_arrives(
    tmp_path, make_image, target, png_file
):
    make_image("in/a.png")
    side = 10_000
    huge = png_file((side, side), 1, 0, bytes((side + 7) // 8 + 1) * side)
    (tmp_path / "in" / "huge.png").write_bytes(huge)
    intake = take_in(list_sources([tmp_path / "in"]), target)
    assert [path.name for path in intake.images] == ["a.png"]
    (refused,) = intake.refused
    assert "huge.png is too large: it has more than 64 million pixels" in refused
