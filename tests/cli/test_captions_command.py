"""`lorasmith captions`: tags listed, all captions changed, and changed back."""

import json

import pytest
from PIL import Image

from app.cli import main


@pytest.fixture
def folder(tmp_path):
    for number, caption in enumerate(["red cat, sitting", "Red cat, lying", ""]):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / f"{number}.png")
        if caption:
            (tmp_path / f"{number}.txt").write_text(caption)
    return tmp_path


def read_all(folder):
    return {path.name: path.read_text() for path in folder.glob("*.txt")}


def test_tags_are_listed_with_their_counts(folder, capsys):
    assert main(["captions", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(maxsplit=1) == ["2", "red cat"]
    assert lines[-1] == "3 images, 1 without a caption, 3 different tags."


@pytest.mark.parametrize(
    ("options", "what", "after"),
    [
        (["--replace", "red", "blue"], "Replaced “red” by “blue”",
         ["blue cat, sitting", "blue cat, lying"]),
        (["--replace", "red cat", ""], "Removed the words “red cat”", ["sitting", "lying"]),
        (["--replace", "cat", "(cat:1.2)"], "Replaced “cat” by “(cat:1.2)”",
         ["red (cat:1.2), sitting", "Red (cat:1.2), lying"]),
        (["--remove", "SITTING"], "Removed the tag “SITTING”", ["red cat", "Red cat, lying"]),
        (["--add", "photo"], "Added “photo” at the end",
         ["red cat, sitting, photo", "Red cat, lying, photo", "photo"]),
        (["--add", "photo", "--first"], "Added “photo” first",
         ["photo, red cat, sitting", "photo, Red cat, lying", "photo"]),
    ],
)  # fmt: skip
def test_a_change_says_how_to_take_it_back_and_is_taken_back(folder, capsys, options, what, after):
    before = read_all(folder)
    assert main(["captions", str(folder), *options]) == 0
    told = capsys.readouterr().out
    assert what in told
    assert f"lorasmith captions {folder} --undo" in told
    assert [text for _, text in sorted(read_all(folder).items())] == after
    main(["captions", str(folder)])
    assert f"--undo undoes: {what}" in capsys.readouterr().out
    assert main(["captions", str(folder), "--undo"]) == 0
    assert f"Undone: {what}" in capsys.readouterr().out
    assert read_all(folder) == before


def test_outcomes_as_json(folder, capsys):
    def ask(*options):
        assert main(["captions", str(folder), "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    what = "Added “cat” at the end"
    assert ask("--add", "cat") == {"what": what, "changed": 3}
    (folder / "0.txt").write_text("by hand")
    found = ask()
    assert found["undo"] == what
    assert found["images"] == 3
    assert {"tag": "cat", "count": 2} in found["tags"]
    assert ask("--undo") == {"what": what, "restored": 2, "kept": ["0.png"]}
    assert ask("--undo") == {}


def test_caption_that_stays_and_a_change_of_nothing_are_told(folder, capsys):
    main(["captions", str(folder), "--replace", "dog", "cat"])
    assert "no caption was changed" in capsys.readouterr().out
    main(["captions", str(folder), "--undo"])
    assert "no change of captions to undo" in capsys.readouterr().out
    main(["captions", str(folder), "--add", "photo"])
    (folder / "0.txt").unlink()
    main(["captions", str(folder), "--undo"])
    told = capsys.readouterr().out
    assert "2 captions were put back" in told
    assert "0.png was changed or removed since" in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--first"], "--first"),
        (["--first", "--undo"], "--first"),
        (["--replace", " ", "x"], "no words to look for"),
        (["--add", ","], "no tag to add"),
        (["--remove", ""], "no tag to remove"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(folder, capsys, options, says):
    before = read_all(folder)
    assert main(["captions", str(folder), *options]) == 2
    assert says in capsys.readouterr().err
    assert read_all(folder) == before


@pytest.mark.parametrize("options", [[], ["--undo"], ["--add", "x"]])
def test_folder_that_is_not_there_is_named(tmp_path, capsys, options):
    assert main(["captions", str(tmp_path / "nowhere"), *options]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_two_changes_at_once_are_refused(folder):
    with pytest.raises(SystemExit):
        main(["captions", str(folder), "--add", "x", "--remove", "y"])


def test_prompt_syntax_is_listed_removed_and_restored(folder, capsys):
    (folder / "2.txt").write_text("(red:1.2) {cat|dog}, <lora:x:1>")
    before = read_all(folder)
    main(["captions", str(folder)])
    assert "warning: 1 caption has prompt syntax" in capsys.readouterr().out
    assert main(["captions", str(folder), "--clean"]) == 0
    assert "Removed prompt syntax: 1 caption was changed." in capsys.readouterr().out
    assert read_all(folder) == {**before, "2.txt": "red cat"}
    assert main(["captions", str(folder), "--undo"]) == 0
    assert read_all(folder) == before
