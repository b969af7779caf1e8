"""Captions and masks are found under every name that trainers give them, and travel along."""

import json

import pytest

from datasets_tools.captions import (
    caption_path,
    move_to_trash,
    read_caption,
    restore_from_trash,
    write_caption,
)
from datasets_tools.edits import change_words
from datasets_tools.examples import scan_folder
from datasets_tools.masks import find_mask
from datasets_tools.rewriting import rewrite_all, undo_rewriting


def read_files(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "name",
    [
        "a.b.txt", "a.b.TXT", "a.b.Txt", "A.B.txt", "a.b.caption", "a.b.CAPTION",
        "a.b.png.txt", "a.b.png.TXT", "a.b.PNG.txt", "a.b.png.caption",
    ],
)  # fmt: skip
def test_caption_is_read_and_edited_under_each_name(tmp_path, make_image, name):
    image = make_image("a.b.png")
    (tmp_path / name).write_text("a red cat")
    assert read_caption(image) == "a red cat"
    assert [(one.caption, one.caption_path) for one in scan_folder(tmp_path)[0]] == [
        ("a red cat", tmp_path / name)
    ]
    before = read_files(tmp_path)
    assert rewrite_all(tmp_path, change_words("red", "blue")) == 1
    assert (tmp_path / name).read_text() == "a blue cat"
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 2
    undo_rewriting(tmp_path)
    assert read_files(tmp_path) == before


def test_txt_counts_before_the_others(tmp_path, make_image):
    image = make_image("a.png")
    for name in ("a.png.txt", "a.caption", "a.txt"):
        (tmp_path / name).write_text(name)
        assert read_caption(image) == name


def test_text_file_of_another_image_is_not_taken(tmp_path, make_image):
    upper, lower = make_image("A.png"), make_image("a.png")
    if upper.samefile(lower):
        pytest.skip("this disk does not tell the case of letters apart")
    (tmp_path / "a.txt").write_text("small")
    assert (read_caption(upper), read_caption(lower)) == ("", "small")


def test_accents_may_be_spelt_in_either_way(tmp_path, make_image):
    image = make_image("caf\u00e9.png")
    (tmp_path / "cafe\u0301.txt").write_text("a cup")
    assert read_caption(image) == "a cup"


def test_images_of_one_stem_with_texts_of_their_own_share_nothing(tmp_path, make_image):
    for name in ("a.png", "a.jpg"):
        make_image(name)
        (tmp_path / f"{name}.txt").write_text(name)
    examples, findings = scan_folder(tmp_path)
    assert [example.caption for example in examples] == ["a.jpg", "a.png"]
    assert findings == []


@pytest.mark.parametrize("kind", ["jsonl", "csv", "semicolon", "caption column"])
def test_metadata_files_are_read(tmp_path, make_image, kind):
    for name in ("a.png", "B.PNG", "c.png"):
        make_image(name)
    rows = [("a.png", "a cat, black"), ("./b.png", 'a "dog"'), ("c.png", "été 🐈")]
    if kind == "jsonl":
        lines = [json.dumps({"file_name": file, "text": text}) for file, text in rows]
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    else:
        mark = ";" if kind == "semicolon" else ","
        title = "caption" if kind == "caption column" else "text"
        quoted = [f'{file}{mark}"{text.replace(chr(34), chr(34) * 2)}"' for file, text in rows]
        content = "\r\n".join([f"file_name{mark}{title}", *quoted])
        (tmp_path / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    examples, findings = scan_folder(tmp_path)
    assert [one.caption for one in examples] == ["a cat, black", 'a "dog"', "été 🐈"]
    assert findings == []


def test_caption_of_a_metadata_file_can_be_edited_cleared_and_restored(tmp_path, make_image):
    image = make_image("a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a red cat"}')
    rewrite_all(tmp_path, change_words("red", "blue"))
    assert read_caption(image) == "a blue cat"
    undo_rewriting(tmp_path)
    assert read_caption(image) == "a red cat"
    write_caption(image, "")
    assert read_caption(image) == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json\n{", "Line 1 of metadata.jsonl cannot be read, and 1 more"),
        ('{"file_name": "a.png"}', "Line 1 of metadata.jsonl has no text in a column text"),
        ('{"text": "a cat"}', "has no text in a column file_name"),
        ('{"file_name": "a.png", "text": ["one", "two"]}', "has no text in a column text"),
    ],
)
def test_metadata_that_cannot_be_read_is_an_error(tmp_path, make_image, content, words):
    make_image("a.png")
    (tmp_path / "metadata.jsonl").write_text(content)
    examples, findings = scan_folder(tmp_path)
    assert len(examples) == 1
    assert [(one.severity, one.code) for one in findings] == [("error", "unreadable_metadata")]
    assert words in findings[0].message


def test_mask_beside_an_image_is_a_mask_and_no_example(tmp_path, make_image):
    image = make_image("a.png")
    mask = make_image("a-MaskLabel.png")
    other = make_image("b-masklabel.png")  # there is no image b
    examples, findings = scan_folder(tmp_path)
    assert [one.path for one in examples] == [image, other]
    assert findings == []
    assert find_mask(image) == mask
    first = make_image("masks/a.png")
    assert find_mask(image) == first


@pytest.mark.parametrize("taken", [False, True])
def test_captions_and_masks_go_to_the_trash_and_come_back(tmp_path, make_image, taken):
    image = make_image("a.png")
    for name in ("a.caption", "a.png.txt"):
        (tmp_path / name).write_text(name)
    make_image("a-masklabel.png")
    make_image("masks/a.png")
    before = read_files(tmp_path)
    move_to_trash(image)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert list((tmp_path / "masks").iterdir()) == []
    if taken:
        make_image("a.png", seed=9)
    restored = restore_from_trash(tmp_path)
    assert restored == tmp_path / ("a-2.png" if taken else "a.png")
    assert read_caption(restored) == "a.caption"
    if taken:
        names = {name.replace("a", "a-2", 1) for name in before if "/" not in name}
        assert {*read_files(tmp_path)} == {*names, "masks/a-2.png", "a.png"}
    else:
        assert read_files(tmp_path) == before
    assert caption_path(restored).suffix == ".caption"
