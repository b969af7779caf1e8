"""Several folders are one dataset: sub-folders with a number, and further folders by line."""

import pytest

from datasets_tools.captions import move_to_trash, read_caption, restore_from_trash
from datasets_tools.edits import change_words
from datasets_tools.errors import DatasetError
from datasets_tools.examples import scan_folder
from datasets_tools.folders import scan_folders
from datasets_tools.groups import (
    Share,
    describe_share,
    list_groups,
    measure_shares,
    read_folder_line,
    read_repeats,
    set_repeats,
)
from datasets_tools.rewriting import rewrite_all, undo_rewriting


@pytest.fixture
def tree(tmp_path, make_image):
    """A tree of kohya: two groups with images of the same names, and an image beside them."""
    for name in ("set/10_mycat cat/a", "set/10_mycat cat/b", "set/3_reg/a", "set/c"):
        make_image(f"{name}.png").with_suffix(".txt").write_text(f"a red {name[4:]}")
    return tmp_path / "set"


def read_texts(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.txt")}


@pytest.mark.parametrize(
    ("name", "repeats"),
    [
        ("10_mycat cat", 10), ("1_x", 1), ("1000_x", 1000), ("1001_x", 0), ("0_x", 0),
        ("05_x", 0), ("10_", 0), ("10", 0), ("x_10", 0), ("cat", 0), ("-1_x", 0), ("٣_x", 0),
    ],
)  # fmt: skip
def test_repeats_stand_in_the_name_of_a_folder(name, repeats):
    assert read_repeats(name) == repeats


def test_images_of_all_groups_are_examples(tree):
    examples, findings = scan_folder(tree)
    assert [(one.name, one.repeats, one.caption) for one in examples] == [
        ("c.png", 1, "a red c"),
        ("10_mycat cat/a.png", 10, "a red 10_mycat cat/a"),
        ("10_mycat cat/b.png", 10, "a red 10_mycat cat/b"),
        ("3_reg/a.png", 3, "a red 3_reg/a"),
    ]
    assert findings == []


def test_balance_is_how_often_each_folder_is_shown(tree):
    counts = [(one.group, one.repeats) for one in scan_folder(tree)[0]]
    shares = measure_shares(counts)  # 1 + 2 * 10 + 3 = 24 images in an epoch
    assert shares == [
        Share("", 1, 1, 1 / 24),
        Share("10_mycat cat", 2, 10, 20 / 24),
        Share("3_reg", 1, 3, 3 / 24),
    ]
    assert describe_share(shares[1]) == "10_mycat cat: 2 images × 10, 83% of what is shown"


def test_leftovers_of_a_group_name_it(tree):
    (tree / "3_reg" / "clip.mp4").write_bytes(b"video")
    (tree / "0_off").mkdir()
    (tree / "0_off" / "a.png").write_bytes(b"image")
    first, second = (one.message for one in scan_folder(tree)[1])
    assert first.startswith("Not used: 1 sub-folder with images (0_off): move their images up, or")
    assert second == "Not used in 3_reg: 1 video (clip.mp4): save single frames as PNG."


def test_captions_of_groups_are_changed_and_restored_also_after_new_repeats(tree):
    before = read_texts(tree)
    assert rewrite_all(tree, change_words("red", "blue")) == 4
    assert {*read_texts(tree).values()} == {text.replace("red", "blue") for text in before.values()}
    set_repeats(tree, "3_reg", 7)
    assert undo_rewriting(tree).restored == 4
    assert read_texts(tree) == {name.replace("3_", "7_"): text for name, text in before.items()}


def test_image_of_a_group_is_removed_and_comes_back_into_it(tree):
    move_to_trash(tree / "3_reg" / "a.png", tree)
    move_to_trash(tree / "c.png", tree)
    assert [one.name for one in scan_folder(tree)[0]] == [
        "10_mycat cat/a.png", "10_mycat cat/b.png",
    ]  # fmt: skip
    assert restore_from_trash(tree) == tree / "c.png"
    set_repeats(tree, "3_reg", 5)
    restored = restore_from_trash(tree)
    assert restored == tree / "5_reg" / "a.png"
    assert read_caption(restored) == "a red 3_reg/a"
    assert restore_from_trash(tree) is None
    assert [path for path in (tree / ".trash").rglob("*") if path.name != ".trash"] == []


@pytest.mark.parametrize(
    ("group", "repeats", "words"),
    [
        ("3_reg", 0, "Repeats are a number from 1 to 1000"),
        ("3_reg", 1001, "Repeats are a number from 1 to 1000"),
        ("4_reg", 2, "There is no folder 4_reg"),
        ("../set", 2, "There is no folder"),
    ],
)
def test_repeats_that_cannot_be_set_are_refused(tree, group, repeats, words):
    with pytest.raises(DatasetError, match=words):
        set_repeats(tree, group, repeats)
    assert [path.name for path in list_groups(tree)] == ["10_mycat cat", "3_reg"]


def test_repeats_never_replace_another_folder(tree):
    (tree / "8_reg").mkdir()
    with pytest.raises(DatasetError, match="there is something else of that name"):
        set_repeats(tree, "3_reg", 8)


@pytest.mark.parametrize(
    ("line", "path", "repeats"),
    [
        ("/sets/dogs", "/sets/dogs", 1),
        ("4 x /sets/my dogs", "/sets/my dogs", 4),
        ("4x /sets/3_dogs", "/sets/3_dogs", 4),
        ("/sets/3_dogs", "/sets/3_dogs", 3),
        ("2 × C:\\sets", "C:\\sets", 2),
    ],
)  # fmt: skip
def test_line_of_a_folder_has_its_repeats_in_front(line, path, repeats):
    found, times = read_folder_line(line)
    assert (str(found), times) == (path, repeats)


def test_further_folders_belong_to_the_dataset(tree, tmp_path, make_image):
    make_image("more/a.png")
    make_image("other/more/a.png", seed=2)
    lines = [f"2 x {tmp_path / 'more'}", str(tmp_path / "other" / "more")]
    examples, _ = scan_folders(tree, lines)
    assert [(one.name, one.repeats) for one in examples[-2:]] == [
        ("more/a.png", 2), ("more (2)/a.png", 1),
    ]  # fmt: skip
    assert len({one.name for one in examples}) == 6
    with pytest.raises(DatasetError, match="The folder more is in the dataset twice"):
        scan_folders(tree, [*lines, str(tmp_path / "more")])
    with pytest.raises(DatasetError, match="There is no folder gone"):
        scan_folders(tree, [str(tmp_path / "gone")])


def test_repeats_of_a_tree_are_multiplied(tree, tmp_path, make_image):
    make_image("main/a.png")
    examples, _ = scan_folders(tmp_path / "main", [f"2 x {tree}"])
    assert [(one.name, one.repeats) for one in examples] == [
        ("a.png", 1),
        ("set/c.png", 2),
        ("set/10_mycat cat/a.png", 20),
        ("set/10_mycat cat/b.png", 20),
        ("set/3_reg/a.png", 6),
    ]
