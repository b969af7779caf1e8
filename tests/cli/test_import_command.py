"""`lorasmith import`: images with captions into a dataset, and `check` with the balance."""

import zipfile

import pytest
from PIL import Image

from app.cli import main
from datasets_tools.examples import scan_folder


@pytest.fixture
def tree(tmp_path):
    for number, name in enumerate(["4_cat/a", "4_cat/b", "2_dog/a"]):
        path = tmp_path / "tree" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (number * 50, 0, 0)).save(path)
        path.with_suffix(".caption").write_text(name)
    return tmp_path / "tree"


def test_tree_is_imported_and_its_balance_is_shown(tree, tmp_path, capsys):
    assert main(["import", str(tree), "--to", str(tmp_path / "set")]) == 0
    assert capsys.readouterr().out == "3 images added with 3 captions.\n"
    captions = {one.name: one.caption for one in scan_folder(tmp_path / "set")[0]}
    assert captions == {f"{name}.png": name for name in ("4_cat/a", "4_cat/b", "2_dog/a")}
    assert main(["check", str(tmp_path / "set"), "--resolution", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [  # 8 and 2 of 10
        "  4_cat: 2 images × 4, 80% of what is shown",
        "  2_dog: 1 image × 2, 20% of what is shown",
    ]


def test_what_is_refused_is_listed_and_is_the_exit_code(tree, tmp_path, capsys):
    (tree / "4_cat" / "b.png").write_text("<html>")
    (tree / "clip.mp4").write_text("x")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("../evil.png", "x")
    sources = [str(tree), str(tmp_path / "evil.zip")]
    assert main(["import", *sources, "--to", str(tmp_path / "set")]) == 1
    out = capsys.readouterr().out
    assert out.startswith("2 images added with 2 captions.\n")
    for words in (
        "Not used: 1 video (clip.mp4)",
        "b.png is a web page",
        "evil.zip was not unpacked",
    ):
        assert words in out


@pytest.mark.parametrize("arguments", [["gone.png", "--to", "set"], ["tree", "--to", "con"]])
def test_path_that_is_not_there_or_cannot_be_is_refused(tree, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tree.parent)
    assert main(["import", *arguments]) != 0
    assert capsys.readouterr().err.strip().endswith(".")
