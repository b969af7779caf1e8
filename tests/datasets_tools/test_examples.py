"""Scanning finds every example in a human order and says what it left out."""

import os

import pytest

from datasets_tools import images
from datasets_tools.errors import DatasetError
from datasets_tools.examples import Example, scan_folder
from datasets_tools.images import fingerprint


def codes(findings):
    return [finding.code for finding in findings]


def test_example_has_its_caption_size_and_content_id(tmp_path, make_image):
    path = make_image("a.png", (64, 48))
    path.with_suffix(".txt").write_text("a cat\n")
    examples, findings = scan_folder(tmp_path)
    assert examples == [Example(path, "a cat", 64, 48, fingerprint(path))]
    assert examples[0].caption_path == tmp_path / "a.txt"
    assert findings == []


def test_examples_come_in_natural_name_order(tmp_path, make_image):
    names = ["2.png", "10.png", "B2.png", "b10.png", "c.png", "c1.PNG", "ä.JPG"]
    for name in reversed(names):
        make_image(name)
    assert [example.path.name for example in scan_folder(tmp_path)[0]] == names


def test_missing_and_empty_folders_are_refused_with_the_remedy(tmp_path, make_image):
    with pytest.raises(DatasetError, match=r"There is no folder none\. Check the path"):
        scan_folder(tmp_path / "none")
    with pytest.raises(DatasetError, match=r"There is no folder a\.png"):
        scan_folder(make_image("file/a.png"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match=r"folder empty contains no images\. Add PNG"):
        scan_folder(tmp_path / "empty")


def test_folder_whose_images_lie_deeper_says_so(tmp_path, make_image):
    make_image("set/cat/a.png")
    words = r"Not used: 1 sub-folder with images \(cat\): move their images up"
    with pytest.raises(DatasetError, match=words):
        scan_folder(tmp_path / "set")


def test_hidden_files_and_files_of_systems_are_ignored(tmp_path, make_image):
    make_image("a.png")
    make_image(".hidden.png")
    make_image(".trash/000001/b.png")
    make_image("__MACOSX/b.png")
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "dataset.json"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    (tmp_path / "empty").mkdir()
    examples, findings = scan_folder(tmp_path)
    assert [example.path.name for example in examples] == ["a.png"]
    assert findings == []


def test_each_unreadable_file_is_an_error_and_the_rest_is_used(tmp_path, make_image):
    make_image("good.png")
    make_image("dot.png", (1, 1))
    (tmp_path / "text.png").write_text("x")
    cut = make_image("cut.jpg", (300, 300))
    cut.write_bytes(cut.read_bytes()[:-600])
    examples, findings = scan_folder(tmp_path)
    assert [example.path.name for example in examples] == ["good.png"]
    assert codes(findings) == ["unreadable_image"] * 3
    assert [finding.path.name for finding in findings] == ["cut.jpg", "dot.png", "text.png"]
    assert all(finding.path.name in finding.message for finding in findings)
    assert all(finding.severity == "error" for finding in findings)


def test_unreadable_caption_is_an_error_and_the_example_stays(tmp_path, make_image):
    make_image("a.png").with_suffix(".txt").write_bytes("été".encode("latin-1"))
    examples, findings = scan_folder(tmp_path)
    assert [(example.caption, example.path.name) for example in examples] == [("", "a.png")]
    assert [(one.severity, one.code) for one in findings] == [("error", "unreadable_caption")]


def test_images_that_share_a_caption_are_named(tmp_path, make_image):
    for name in ("a.png", "a.jpg", "b.png"):
        make_image(name)
    examples, findings = scan_folder(tmp_path)
    assert len(examples) == 3
    assert codes(findings) == ["shared_caption"]
    assert "a.jpg and a.png share the caption a.txt" in findings[0].message


def test_hostile_names_are_data_in_examples_and_harmless_in_messages(
    tmp_path, make_image, free_names
):
    names = ["<script>alert(1)<.png", "$(touch x).png", "猫 🐈.png", "new\nline\x1b[0m.png"]
    for name in names:
        make_image(name)
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_text("no image")
    (tmp_path / "bad\nname.png").write_text("no image")
    examples, findings = scan_folder(tmp_path)
    assert sorted(example.path.name for example in examples) == sorted(names)
    assert [finding.message.split(" ")[0] for finding in findings] == ["bad?name.png", "caf?.png"]
    assert all(finding.message.encode().decode().isprintable() for finding in findings)


def test_unchanged_images_are_not_decoded_again(tmp_path, make_image, monkeypatch):
    make_image("a.png")
    make_image("b.png")
    first = scan_folder(tmp_path)
    decoded = []
    real_open = images.open_image

    def count_opening(path):
        decoded.append(path.name)
        return real_open(path)

    monkeypatch.setattr(images, "open_image", count_opening)
    assert scan_folder(tmp_path) == first
    assert decoded == []
    make_image("b.png", (80, 80), seed=2)
    assert scan_folder(tmp_path)[0][1].width == 80
    assert set(decoded) == {"b.png"}
