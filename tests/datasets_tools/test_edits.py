"""Rules that change one caption."""

import pytest

from datasets_tools.edits import (
    add_tag,
    change_by_adding,
    change_by_removing,
    change_words,
    count_tags,
    remove_tag,
    replace_words,
    split_tags,
)
from datasets_tools.errors import DatasetError


@pytest.mark.parametrize(
    ("caption", "old", "new", "result"),
    [
        ("a red cat", "red", "blue", "a blue cat"),
        ("Red cat, red hat", "red", "blue", "blue cat, blue hat"),
        ("a reddish cat", "red", "blue", "a reddish cat"),
        ("a red cat, sitting", "red cat", "", "a, sitting"),
        ("a cat, photo, sitting", "photo", "", "a cat, sitting"),
        ("1+1 (cat)", "(cat)", r"\1 \g<0>", r"1+1 \1 \g<0>"),
        ("a cat", "", "dog", "a cat"),
    ],
)
def test_whole_words_are_replaced_in_any_case(caption, old, new, result):
    assert replace_words(caption, old, new) == result


@pytest.mark.parametrize(
    ("caption", "tag", "end", "first"),
    [
        ("a cat", "photo", "a cat, photo", "photo, a cat"),
        ("", "photo", "photo", "photo"),
        ("a cat,", " photo, ", "a cat, photo", "photo, a cat,"),
        ("a cat, Photo", "photo", "a cat, Photo", "a cat, Photo"),
        ("solo focus", "solo", "solo focus, solo", "solo, solo focus"),
        ("a cat, red", "red, blue", "a cat, red, blue", "blue, a cat, red"),
        ("a cat", " , ", "a cat", "a cat"),
    ],
)
def test_tag_is_added_unless_it_is_there(caption, tag, end, first):
    assert add_tag(caption, tag) == end
    assert add_tag(caption, tag, first=True) == first


@pytest.mark.parametrize(
    ("caption", "tag", "result"),
    [
        ("a cat, Photo, red", "photo", "a cat, red"),
        ("solo, solo focus", "solo", "solo focus"),
        ("photo", "photo", ""),
        ("red, a cat, blue", "blue, red", "a cat"),
        ("a photo of a cat", "photo", "a photo of a cat"),
        ("a cat ,sitting", "dog", "a cat ,sitting"),
    ],
)
def test_tag_is_removed_and_never_a_part_of_another(caption, tag, result):
    assert remove_tag(caption, tag) == result


def test_added_tag_is_removed_again():
    for caption in ("a cat", "", "solo focus, red"):
        for first in (True, False):
            assert remove_tag(add_tag(caption, "oil painting", first=first), "OIL painting") == (
                caption
            )


def test_tags_are_counted_by_captions_and_the_most_frequent_stands_first():
    captions = ["cat, red", "Cat, cat, blue", "", "blue,, cat ,"]
    assert count_tags(captions) == [("cat", 3), ("blue", 2), ("red", 1)]
    assert split_tags(" a,, b c ,") == ["a", "b c"]


def test_changes_say_what_they_do_and_do_it():
    changes = {
        change_words(" red  cat", "dog"): "a dog, sitting",
        change_words("red", " "): "a cat, sitting",
        change_by_adding("photo ,"): "a red cat, sitting, photo",
        change_by_adding("photo", first=True): "photo, a red cat, sitting",
        change_by_removing("Sitting"): "a red cat",
    }
    assert [change.what for change in changes] == [
        "Replaced “red cat” by “dog”", "Removed the words “red”", "Added “photo” at the end",
        "Added “photo” first", "Removed the tag “Sitting”",
    ]  # fmt: skip
    for change, caption in changes.items():
        assert change.edit("a red cat, sitting") == caption


@pytest.mark.parametrize("make", [lambda text: change_words(text, "x"), change_by_adding,
                                  change_by_removing])  # fmt: skip
def test_change_of_nothing_is_refused(make):
    with pytest.raises(DatasetError, match=r"There (is no tag|are no words) to"):
        make(" \n")
