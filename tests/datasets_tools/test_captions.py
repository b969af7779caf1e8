"""Captions are read tolerantly, written in one piece, and edited by whole words."""

import errno
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_tools.captions import (
    LARGEST_CAPTION_BYTES,
    add_trigger,
    caption_path,
    count_trigger,
    has_trigger,
    normalise_caption,
    read_caption,
    revision_of,
    write_caption,
)
from datasets_tools.errors import DatasetError

words = st.text("abxyz9", min_size=1, max_size=3)
captions = st.lists(st.one_of(words, st.sampled_from([",", ", ", " ", ".", "-"])), max_size=12).map(
    " ".join
)


@pytest.fixture
def image(make_image):
    return make_image("cat.v2.png")


def test_caption_lies_beside_the_image(image):
    assert caption_path(image).name == "cat.v2.txt"


def test_image_without_caption_has_an_empty_one(image):
    assert read_caption(image) == ""


@pytest.mark.parametrize("text", ["a cat", "un été, 猫 🐈", "<script>alert(1)</script>", ""])
def test_written_caption_is_read_back(image, text):
    write_caption(image, text)
    assert read_caption(image) == text
    assert caption_path(image).read_bytes() == text.encode()


def test_caption_becomes_one_line_without_control_characters(image):
    write_caption(image, "  a cat,\r\n\tblack\x00\x1b\u2028and\xa0 white\ud800 \ufeff")
    assert read_caption(image) == "a cat, black and white"


def test_byte_order_mark_and_line_ends_are_tolerated(image):
    caption_path(image).write_bytes("\ufeffa cat,\r\nblack\r\n".encode())
    assert read_caption(image) == "a cat, black"


@pytest.mark.parametrize(
    "content", ["un chat en été".encode("latin-1"), b"a\0b c", "猫 犬".encode("utf-16-le")]
)
def test_caption_that_is_not_unicode_text_is_named_with_the_remedy(image, content):
    caption_path(image).write_bytes(content)
    with pytest.raises(DatasetError, match=r"cat\.v2\.txt is not UTF-8.*encoding UTF-8"):
        read_caption(image)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_caption_in_another_unicode_encoding_is_read(image, encoding):
    caption_path(image).write_bytes("un chat en été,\r\nnoir".encode(encoding))
    assert read_caption(image) == "un chat en été, noir"


@pytest.mark.parametrize("sign", ["a", "ä", "猫", "🐈", "ש", "e\u0301"])
def test_caption_of_27000_signs_is_kept_whole(image, sign):
    write_caption(image, sign * 27_000)
    assert read_caption(image) == sign * 27_000


def test_file_too_long_for_a_caption_is_refused(image):
    caption_path(image).write_bytes(b"x" * (LARGEST_CAPTION_BYTES + 1))
    with pytest.raises(DatasetError, match=r"cat\.v2\.txt is larger than 256 KB"):
        read_caption(image)
    caption_path(image).write_text("old")
    with pytest.raises(DatasetError, match="was not saved"):
        write_caption(image, "x" * (LARGEST_CAPTION_BYTES + 1))
    assert read_caption(image) == "old"


def test_folder_in_place_of_a_caption_is_reported(image):
    caption_path(image).mkdir()
    with pytest.raises(DatasetError, match=r"cat\.v2\.txt cannot be read"):
        read_caption(image)
    with pytest.raises(DatasetError, match=r"caption of cat\.v2\.png could not be saved"):
        write_caption(image, "a cat")


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES])
def test_failed_write_keeps_the_old_caption_and_leaves_no_file(image, monkeypatch, call, code):
    write_caption(image, "the old caption")
    before = sorted(image.parent.iterdir())

    def fail(*args, **named):
        raise OSError(code, "it went wrong")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(DatasetError, match=r"cat\.v2\.png could not be saved.*unchanged"):
            write_caption(image, "the new caption")
    assert read_caption(image) == "the old caption"
    assert sorted(image.parent.iterdir()) == before


def test_disk_that_fills_up_halfway_keeps_the_old_caption(image, monkeypatch):
    write_caption(image, "the old caption")
    real_write, calls = os.write, []

    def write_a_little(descriptor, data):
        calls.append(len(data))
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data[:3])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_a_little)
        with pytest.raises(DatasetError, match=r"the disk is full\. Free some space"):
            write_caption(image, "the new caption")
    assert calls == [15, 12, 9]
    assert read_caption(image) == "the old caption"


def test_short_writes_are_continued(image, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real_write(file, data[:4]))
    write_caption(image, "a caption of many bytes")
    assert read_caption(image) == "a caption of many bytes"


def test_caption_file_gets_the_usual_rights(image):
    write_caption(image, "a cat")
    plain = image.with_suffix(".other")
    plain.write_text("x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (caption_path(image), plain)}
    assert len(modes) == 1


def test_revision_changes_with_the_text_and_only_with_it():
    assert revision_of("a cat") == revision_of(" a  cat\n")
    assert len({revision_of(caption) for caption in ("", "a cat", "a dog")}) == 3


@pytest.mark.parametrize(
    ("caption", "trigger", "count"),
    [
        ("mycat on a mat", "mycat", 1),
        ("MyCat on a mat", "mycat", 1),
        ("mycats on a mat", "mycat", 0),
        ("amycat, my_mycat_", "mycat", 0),
        ("mycat, mycat's mat", "mycat", 2),
        ("in the style  of xyz", "style of xyz", 1),
        ("a c++ b", "c++", 1),
        ("a .* b", ".*", 1),
        ("a b", ".*", 0),
        ("anything", "", 0),
        ("anything", "  ", 0),
        ("", "mycat", 0),
        ("Катя in a garden", "катя", 1),
    ],
)
def test_trigger_is_counted_as_whole_words(caption, trigger, count):
    assert count_trigger(caption, trigger) == count
    assert has_trigger(caption, trigger) is (count > 0)


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("", "mycat"),
        ("a mat", "mycat, a mat"),
        ("mycat", "mycat"),
        ("mycat, a mat", "mycat, a mat"),
        ("mycat on a mat", "mycat on a mat"),
        ("MyCat on a mat", "MyCat on a mat"),
        ("a mat, mycat, sun", "mycat, a mat, sun"),
        ("a photo of mycat.", "mycat, a photo of."),
        ("mycat on a mat, mycat, sun", "mycat on a mat, sun"),
        ("mycat, mycat", "mycat"),
        ("mycats", "mycat, mycats"),
    ],
)
def test_trigger_is_put_first_once(caption, wanted):
    assert add_trigger(caption, "mycat") == wanted


def test_trigger_that_appears_by_removing_another_is_removed_too():
    assert add_trigger("see a a b b c", "a b") == "a b, see c"


def test_no_trigger_adds_nothing():
    assert add_trigger("a  mat", " ") == "a mat"


@given(captions, words)
def test_added_trigger_is_first_and_once_and_stays(caption, trigger):
    added = add_trigger(caption, trigger)
    assert added.lower().startswith(trigger)
    assert count_trigger(added, trigger) == 1
    assert add_trigger(added, trigger) == added
    others = [w for w in normalise_caption(caption).replace(",", " ").split() if w.isalnum()]
    kept = added.replace(",", " ").replace(".", " ").replace("-", " ").split()
    assert {word for word in others if word != trigger} <= set(kept)


@given(st.text(), st.text(min_size=1))
def test_any_text_can_be_a_caption_and_a_trigger(caption, trigger):
    added = add_trigger(caption, trigger)
    assert normalise_caption(added) == added
    assert has_trigger(added, trigger) or not normalise_caption(trigger)


@given(st.text())
def test_normal_caption_is_one_line_that_can_be_saved(text):
    normal = normalise_caption(text)
    assert normalise_caption(normal) == normal
    assert len(normal.splitlines()) <= 1
    assert normal.encode().decode("utf-8-sig") == normal
