"""Many captions are changed at once, and each of them comes back as it was."""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from datasets_tools import rewriting, undo_log
from datasets_tools.captions import move_to_trash, write_caption
from datasets_tools.edits import CaptionChange
from datasets_tools.errors import DatasetError
from datasets_tools.rewriting import (
    Rewriting,
    UndoResult,
    find_last_rewriting,
    rewrite_all,
    undo_rewriting,
)
from datasets_tools.undo_log import MAX_LOGS, UNDO_FOLDER, Entry, list_logs, read_log


@pytest.fixture
def folder(make_image, tmp_path):
    """Four images: with a caption, with an odd one, with an empty one, with none."""
    for name in ("a", "b", "c", "d"):
        make_image(f"set/{name}.png")
    (tmp_path / "set" / "a.txt").write_text("a red cat")
    (tmp_path / "set" / "b.txt").write_bytes("\ufeffa  blue\u2028cat\r\nsits\n".encode())
    (tmp_path / "set" / "c.txt").write_bytes(b"")
    return tmp_path / "set"


def change_all(folder, edit, what):
    return rewrite_all(folder, CaptionChange(what, edit))


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


def write_journal(folder, *lines, number=1):
    (folder / UNDO_FOLDER).mkdir(exist_ok=True)
    log = folder / UNDO_FOLDER / f"{number:06d}.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    log.write_text("".join(f"{text}\n" for text in texts))
    return log


def test_undo_restores_every_byte_and_removes_captions_that_did_not_exist(folder):
    before = read_all(folder)
    assert change_all(folder, lambda text: f"{text} on grass", "Grass") == 4
    assert read_all(folder) == {
        "a.txt": b"a red cat on grass", "b.txt": b"a blue cat sits on grass",
        "c.txt": b"on grass", "d.txt": b"on grass",
    }  # fmt: skip
    assert find_last_rewriting(folder) == "Grass"
    assert undo_rewriting(folder) == UndoResult("Grass", 4, ())
    assert read_all(folder) == before
    assert find_last_rewriting(folder) is None
    assert undo_rewriting(folder) is None
    assert not (folder / UNDO_FOLDER).exists()


def test_several_changes_are_taken_back_one_by_one_from_the_last(folder):
    states = [read_all(folder)]
    for word in ("one", "two", "three"):
        change_all(folder, lambda text, word=word: f"{text} {word}", word)
        states.append(read_all(folder))
    for word in ("three", "two", "one"):
        assert read_all(folder) == states.pop()
        assert find_last_rewriting(folder) == word
        assert undo_rewriting(folder).what == word
    assert read_all(folder) == states.pop()


def test_change_that_changes_nothing_leaves_nothing_to_take_back(folder):
    before = read_all(folder)
    assert change_all(folder, lambda text: text, "Nothing") == 0
    assert find_last_rewriting(folder) is None
    assert read_all(folder) == before


def test_caption_edited_since_stays_and_is_named(folder):
    change_all(folder, lambda text: f"{text} on grass", "Grass")
    (folder / "a.txt").write_text("written by hand")
    (folder / "b.txt").unlink()
    (folder / "c.txt").write_text("on grass\n")  # an editor's line break is no edit
    (folder / "d.txt").write_bytes(b"\xff\xfe")
    assert undo_rewriting(folder) == UndoResult("Grass", 1, ("a.png", "b.png", "d.png"))
    assert read_all(folder) == {
        "a.txt": b"written by hand", "c.txt": b"", "d.txt": b"\xff\xfe",
    }  # fmt: skip


def test_removed_image_is_named_and_its_neighbours_come_back(folder):
    before = read_all(folder)
    change_all(folder, lambda text: f"{text} on grass", "Grass")
    move_to_trash(folder / "a.png")
    assert undo_rewriting(folder) == UndoResult("Grass", 3, ("a.png",))
    del before["a.txt"]
    assert read_all(folder) == before


def test_caption_written_twice_in_one_change_comes_back_to_the_first(folder):
    before = read_all(folder)
    change = Rewriting(folder, "Twice")
    assert change.write(folder / "a.png", "one")
    assert change.write(folder / "a.png", "two")
    assert not change.write(folder / "a.png", " two ")
    assert change.count == 2
    assert undo_rewriting(folder) == UndoResult("Twice", 1, ())
    assert read_all(folder) == before


def test_shared_caption_is_edited_once_and_comes_back(folder, make_image):
    make_image("set/a.jpg")
    before = read_all(folder)
    assert change_all(folder, lambda text: f"{text}!", "Louder") == 4
    assert (folder / "a.txt").read_text() == "a red cat!"
    change = Rewriting(folder, "Both")
    change.write(folder / "a.jpg", "the jpg")
    change.write(folder / "a.png", "the png")
    assert undo_rewriting(folder) == UndoResult("Both", 1, ())
    assert undo_rewriting(folder).restored == 4
    assert read_all(folder) == before


def test_unreadable_caption_stops_a_change_before_it_begins(folder):
    (folder / "c.txt").write_bytes(b"\xff")
    before = read_all(folder)
    with pytest.raises(DatasetError, match=r"No caption was changed\. .*c\.txt is not UTF-8"):
        change_all(folder, lambda text: f"{text}!", "Louder")
    assert read_all(folder) == before
    assert find_last_rewriting(folder) is None


def test_name_that_is_not_unicode_comes_back(folder, make_image):
    image = Path(os.fsdecode(bytes(folder) + b"/caf\xe9.png"))
    try:
        shutil.copy(folder / "a.png", image)
    except OSError:
        pytest.skip("this disk takes Unicode names only")
    change = Rewriting(folder, "One")
    change.write(image, "a café")
    assert undo_rewriting(folder) == UndoResult("One", 1, ())
    assert not image.with_suffix(".txt").exists()


def test_half_a_last_line_is_no_entry(folder):
    before = read_all(folder)
    change_all(folder, lambda text: f"{text} on grass", "Grass")
    (log,) = list_logs(folder)
    log.write_bytes(log.read_bytes() + b'{"image": "a.png", "before": "x", "aft')
    assert undo_rewriting(folder) == UndoResult("Grass", 4, ())
    assert read_all(folder) == before


def test_killed_between_journal_and_caption_is_no_change(folder, monkeypatch):
    before = read_all(folder)

    def die(image, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(rewriting, "write_caption", die)
    with pytest.raises(KeyboardInterrupt):
        change_all(folder, lambda text: f"{text} on grass", "Grass")
    monkeypatch.undo()
    assert undo_rewriting(folder) == UndoResult("Grass", 0, ())
    assert read_all(folder) == before


def test_killed_before_the_first_entry_is_skipped_by_undo(folder):
    before = read_all(folder)
    change_all(folder, lambda text: f"{text} on grass", "Grass")
    write_journal(folder, number=2)
    write_journal(folder, {"what": "Never done"}, number=3)
    assert find_last_rewriting(folder) == "Grass"
    assert undo_rewriting(folder) == UndoResult("Grass", 4, ())
    assert read_all(folder) == before
    assert not (folder / UNDO_FOLDER).exists()


def test_full_disk_changes_nothing_that_cannot_be_taken_back(folder, monkeypatch):
    before = read_all(folder)
    fsync, calls = os.fsync, []

    def fill_up(descriptor):
        # Not every system can flush a folder.
        calls.extend([descriptor] * stat.S_ISREG(os.fstat(descriptor).st_mode))
        if len(calls) > 3:  # the first caption and its journal were still written
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(DatasetError, match="disk is full"):
        change_all(folder, lambda text: f"{text} on grass", "Grass")
    monkeypatch.undo()
    (log,) = list_logs(folder)
    assert log.read_bytes().endswith(b"\n")
    assert undo_rewriting(folder).restored == 1
    assert read_all(folder) == before


def test_journal_that_fails_once_goes_on_whole(folder, monkeypatch):
    """Half a line that a full disk left must not swallow the line that comes after it."""
    before = read_all(folder)
    change = Rewriting(folder, "Suggested")
    change.write(folder / "a.png", "one")
    fsync = os.fsync

    def fail(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DatasetError, match="disk is full"):
        change.write(folder / "b.png", "two")
    change.write(folder / "c.png", "three")
    assert change.count == 2
    (log,) = list_logs(folder)
    assert [entry.image for entry in read_log(log)[1]] == ["a.png", "c.png"]
    assert undo_rewriting(folder).restored == 2
    assert read_all(folder) == before


def test_first_line_that_cannot_be_written_leaves_no_journal(folder, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    change = Rewriting(folder, "One")
    with pytest.raises(DatasetError, match="disk is full"):
        change.write(folder / "a.png", "one")
    assert not (folder / UNDO_FOLDER).exists()


def test_undo_that_failed_goes_on_when_it_is_done_again(folder, monkeypatch):
    before = read_all(folder)
    change_all(folder, lambda text: f"{text} on grass", "Grass")
    put_back, calls = rewriting._restore_caption, []

    def fail_at_the_third(image, text):
        calls.append(image)
        if len(calls) == 3:
            raise DatasetError("The caption could not be saved.")
        put_back(image, text)

    monkeypatch.setattr(rewriting, "_restore_caption", fail_at_the_third)
    with pytest.raises(DatasetError):
        undo_rewriting(folder)
    monkeypatch.undo()
    assert find_last_rewriting(folder) == "Grass"
    assert undo_rewriting(folder) == UndoResult("Grass", 2, ())
    assert read_all(folder) == before


def test_change_taken_back_while_it_goes_on_can_be_taken_back_to_its_end(folder):
    before = read_all(folder)
    change = Rewriting(folder, "Suggested")
    change.write(folder / "a.png", "one")
    undo_rewriting(folder)
    change.write(folder / "b.png", "two")
    assert undo_rewriting(folder) == UndoResult("Suggested", 1, ())
    assert read_all(folder) == before


def test_only_the_last_changes_are_kept(folder):
    for number in range(MAX_LOGS + 3):
        change = Rewriting(folder, f"Change {number}")
        change.write(folder / "a.png", f"text {number}")
    kept = [read_log(log)[0] for log in list_logs(folder)]
    assert kept == [f"Change {number}" for number in range(3, MAX_LOGS + 3)]


OUTSIDE = ["../victim.png", "/etc/victim.png", "..", ".", "", "x/../../victim.png", "set/a.png",
           "a\0.png", "victim", "dataset.json", "a.txt", "\ud800.png", 7, None, [1]]  # fmt: skip


@pytest.mark.parametrize("image", OUTSIDE)
def test_hostile_entry_touches_nothing(folder, make_image, image):
    for name in ("victim", "set"):  # beside the dataset, where `..` and "" lead
        write_caption(make_image(f"{name}.png"), "mine")
    before, beside = read_all(folder), read_all(folder.parent)
    write_journal(
        folder,
        {"what": "Trap"},
        {"image": image, "before": "theirs", "after": "mine"},
        {"image": image, "before": None, "after": "a red cat"},
    )
    assert find_last_rewriting(folder) is None
    assert undo_rewriting(folder) is None
    assert read_all(folder) == before
    assert read_all(folder.parent) == beside


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, "{", "7", '"a"', '{"image": "a.png"}',
     '{"image": "a.png", "before": 1, "after": "a red cat"}',
     '{"image": "a.png", "before": "\\ud800", "after": "a red cat"}',
     '{"image": "a.png", "before": null, "after": ["a red cat"]}'],
)  # fmt: skip
def test_damaged_line_is_passed_over_and_the_others_are_taken_back(folder, line):
    write_journal(
        folder, {"what": "Mixed"}, line, {"image": "c.png", "before": "c before", "after": ""}
    )
    assert undo_rewriting(folder) == UndoResult("Mixed", 1, ())
    assert (folder / "c.txt").read_text() == "c before"
    assert (folder / "a.txt").read_text() == "a red cat"


def test_what_a_journal_calls_the_change_is_fit_for_a_terminal(folder):
    entry = {"image": "a.png", "before": "x", "after": "y"}
    write_journal(folder, {"what": "\x1b[31mred\x1b[0m \u202e" + "x" * 1000}, entry)
    what = find_last_rewriting(folder)
    assert what.startswith("[31mred[0m xx")
    assert len(what) == undo_log.LONGEST_WHAT


def test_folder_of_journals_that_leads_elsewhere_is_not_followed(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / UNDO_FOLDER).symlink_to(elsewhere)
    log = elsewhere / "000001.jsonl"
    log.write_text('{"what": "Trap"}\n{"image": "a.png", "before": "x", "after": "a red cat"}\n')
    assert find_last_rewriting(folder) is None
    assert undo_rewriting(folder) is None
    with pytest.raises(DatasetError, match=r"\.undo in set is a link"):
        change_all(folder, lambda text: f"{text}!", "Louder")
    assert list(elsewhere.iterdir()) == [log]
    assert (folder / "a.txt").read_text() == "a red cat"


def test_caption_that_is_a_link_is_replaced_and_not_followed(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("of somebody else")
    (folder / "d.txt").symlink_to(elsewhere)
    change_all(folder, lambda text: f"{text}!", "Louder")
    undo_rewriting(folder)
    assert elsewhere.read_text() == "of somebody else"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_only_has_the_name_of_a_journal_is_none(folder, make):
    (folder / UNDO_FOLDER).mkdir()
    make(folder / UNDO_FOLDER / "000001.jsonl")
    assert undo_rewriting(folder) is None
    change = Rewriting(folder, "One")
    change.write(folder / "a.png", "one")
    assert undo_rewriting(folder) == UndoResult("One", 1, ())


def test_entries_are_read_as_they_were_written(folder):
    entry = Entry("a.png", "a\u2028b \U0001f600\r\n", "a b")
    log = undo_log.create_log(folder, "Odd letters", entry)
    assert read_log(log) == ("Odd letters", [entry])
