"""What is not used is said in one line: how many, of what kind, and what to do."""

import pytest

from datasets_tools.errors import DatasetError
from datasets_tools.examples import scan_folder


def line(folder):
    findings = scan_folder(folder)[1]
    assert [(one.severity, one.code) for one in findings] == [("warning", "leftovers")]
    return findings[0].message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notes.txt", "1 text without an image of its name (notes.txt): name each like its image"),
        ("old.CAPTION", "1 text without an image of its name (old.CAPTION): "),
        ("a.caption", "1 further caption of an image that has one (a.caption): keep one file"),
        ("a.png.txt", "1 further caption of an image that has one (a.png.txt): "),
        ("clip.MP4", "1 video (clip.MP4): save single frames as PNG"),
        ("b.NEF", "1 raw camera file (b.NEF): develop them to JPEG or PNG"),
        ("b.psd", "1 image of another format (b.psd): save them as PNG"),
        ("more.zip", "1 archive (more.zip): unpack them"),
        ("a.npz", "1 cache of another program (a.npz): they can be deleted"),
        ("readme.md", "1 other file (readme.md): move them away if nothing is missing"),
        ("no-ending", "1 other file (no-ending): "),
        ("masks/b.png", "1 mask without its image (masks/b.png): "),
        ("more/b.png", "1 sub-folder with images (more): move their images up"),
    ],
)
def test_each_kind_is_said_with_its_remedy(tmp_path, make_image, name, words):
    make_image("a.png")
    (tmp_path / "a.txt").write_text("a cat")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("content")
    assert line(tmp_path).startswith(f"Not used: {words}")


def test_many_of_several_kinds_are_one_line(tmp_path, make_image):
    make_image("a.png")
    for number in range(5):
        (tmp_path / f"text{number}.txt").write_text("x")
    (tmp_path / "clip.mov").write_bytes(b"video")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert line(tmp_path) == (
        "Not used: 2 broken links (broken.png, loop.png): restore what they point to; "
        "1 video (clip.mov): save single frames as PNG; "
        "5 texts without an image of their name (text0.txt, text1.txt, text2.txt and 2 more): "
        "name each like its image."
    )


def test_rows_that_name_no_image_or_do_not_count_are_said(tmp_path, make_image):
    make_image("a.png")
    make_image("b.png")
    (tmp_path / "a.txt").write_text("a cat")
    (tmp_path / "b.txt").write_text("a  dog")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a bird\nb.png,a dog\ngone.png,x")
    assert line(tmp_path) == (
        "Not used: 1 row of a metadata file for an image with a text file, which counts (a.png): "
        "remove one of the two; 1 row of a metadata file that names no image here (gone.png): "
        "correct the names."
    )


def test_folder_without_images_says_what_is_in_it(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "images.zip").write_bytes(b"PK")
    with pytest.raises(
        DatasetError, match=r"contains no images.*1 archive \(images\.zip\): unpack"
    ):
        scan_folder(tmp_path / "set")


def test_name_with_control_characters_is_harmless(tmp_path, make_image, free_names):
    make_image("a.png")
    (tmp_path / "bad\nname\x1b.txt").write_text("x")
    assert "(bad?name?.txt)" in line(tmp_path)


def test_what_is_used_leaves_no_line(tmp_path, make_image):
    for name in ("a.png", "b.jpg", "c.webp", "a-masklabel.png", "masks/b.jpg"):
        make_image(name)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.jpg.caption").write_text("b")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "c.webp", "text": "c"}')
    assert scan_folder(tmp_path)[1] == []
