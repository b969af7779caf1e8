"""Removing is undone in reverse order, and nothing is overwritten on either way."""

import errno
from pathlib import Path

import pytest

from datasets_tools.captions import (
    caption_path,
    move_to_trash,
    read_caption,
    restore_from_trash,
    write_caption,
)
from datasets_tools.errors import DatasetError
from datasets_tools.examples import scan_folder


@pytest.fixture
def folder(tmp_path, make_image):
    for name in ("a", "b"):
        write_caption(make_image(f"{name}.png"), f"caption {name}")
    return tmp_path


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_removed_example_is_out_of_the_dataset_and_in_the_trash(folder):
    trashed = move_to_trash(folder / "a.png")
    assert visible(folder) == ["b.png", "b.txt"]
    assert [example.path.name for example in scan_folder(folder)[0]] == ["b.png"]
    assert trashed.is_relative_to(folder / ".trash")
    assert read_caption(trashed) == "caption a"


def test_undo_brings_back_the_last_removed_first(folder):
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    move_to_trash(folder / "b.png")
    move_to_trash(folder / "a.png")
    assert restore_from_trash(folder) == folder / "a.png"
    assert restore_from_trash(folder) == folder / "b.png"
    assert restore_from_trash(folder) is None
    assert {name: (folder / name).read_bytes() for name in visible(folder)} == contents
    assert list((folder / ".trash").iterdir()) == []


def test_empty_and_missing_trash_restore_nothing(tmp_path):
    assert restore_from_trash(tmp_path) is None
    (tmp_path / ".trash" / "000001").mkdir(parents=True)
    (tmp_path / ".trash" / "notes").mkdir()
    assert restore_from_trash(tmp_path) is None


def test_same_name_removed_twice_is_kept_twice(folder, make_image):
    move_to_trash(folder / "a.png")
    write_caption(make_image("a.png", seed=2), "another a")
    move_to_trash(folder / "a.png")
    captions = [read_caption(path) for path in sorted((folder / ".trash").rglob("*.png"))]
    assert captions == ["caption a", "another a"]


def test_restored_image_does_not_overwrite_a_new_one(folder, make_image):
    move_to_trash(folder / "a.png")
    write_caption(make_image("a.png", seed=2), "a new a")
    new = (folder / "a.png").read_bytes()
    restored = restore_from_trash(folder)
    assert restored == folder / "a-2.png"
    assert read_caption(restored) == "caption a"
    assert read_caption(folder / "a.png") == "a new a"
    assert (folder / "a.png").read_bytes() == new


def test_restored_image_without_caption_does_not_overwrite_either(folder, make_image):
    move_to_trash(make_image("c.png", seed=1))
    new = make_image("c.png", seed=2)
    content = new.read_bytes()
    assert restore_from_trash(folder) == folder / "c-2.png"
    assert new.read_bytes() == content


def test_image_without_caption_does_not_come_back_to_a_foreign_one(folder, make_image):
    bare = make_image("c.png")
    move_to_trash(bare)
    caption_path(bare).write_text("left by something else")
    assert restore_from_trash(folder) == folder / "c-2.png"


def test_shared_caption_stays_for_the_other_image(folder, make_image):
    other = make_image("a.jpg")
    move_to_trash(folder / "a.png")
    assert read_caption(other) == "caption a"
    assert restore_from_trash(folder) == folder / "a.png"
    assert visible(folder) == ["a.jpg", "a.png", "a.txt", "b.png", "b.txt"]


def test_image_that_is_gone_is_reported(folder):
    (folder / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png is not in the dataset any more"):
        move_to_trash(folder / "a.png")
    assert not (folder / ".trash").exists()


@pytest.mark.parametrize("action", ["remove", "restore"])
def test_failed_move_leaves_image_and_caption_together(folder, monkeypatch, action):
    if action == "restore":
        move_to_trash(folder / "a.png")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def fail(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    move, what = {
        "remove": (move_to_trash, folder / "a.png"),
        "restore": (restore_from_trash, folder),
    }[action]
    with pytest.raises(DatasetError, match="the disk is full"):
        move(what)
    monkeypatch.undo()
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    if action == "remove":
        assert after == before
    else:
        assert restore_from_trash(folder) == folder / "a.png"
