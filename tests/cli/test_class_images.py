"""`lorasmith class-images`: images of a class from the base model, ready for a prior."""

import pytest

from app.cli import main
from datasets_tools.examples import scan_folder
from datasets_tools.images import pixel_digest
from tests.trainer.conftest import build_pico


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    return build_pico(tmp_path_factory.mktemp("classes") / "model")


def test_images_have_captions_differ_and_are_not_generated_twice(pico, tmp_path, capsys):
    folder = tmp_path / "class"
    words = [
        "class-images", f"--base-model={pico}", "--prompt=a blob", "--prompt=a photo of a blob",
        "--steps=1", "--width=32", "--height=32", f"--to={folder}",
    ]  # fmt: skip
    assert main([*words, "--count=3"]) == 0
    examples, findings = scan_folder(folder)
    assert findings == []
    assert [(one.path.name, one.caption, one.width) for one in examples] == [
        ("class-0001.png", "a blob", 32),
        ("class-0002.png", "a photo of a blob", 32),
        ("class-0003.png", "a blob", 32),
    ]
    digests = [pixel_digest(one.path) for one in examples]
    assert len(set(digests)) == 3
    examples[1].path.unlink()
    capsys.readouterr()
    assert main([*words, "--count=4"]) == 0
    assert "2 images generated" in capsys.readouterr().out
    assert [pixel_digest(one.path) for one in scan_folder(folder)[0]][:3] == digests
    assert main([*words, "--count=4"]) == 0
    assert "0 images generated" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["0", "5001", "-1"])
def test_number_out_of_bounds_is_refused(pico, tmp_path, capsys, count):
    words = ["class-images", f"--base-model={pico}", "--prompt=a", f"--to={tmp_path / 'x'}"]
    assert main([*words, f"--count={count}"]) != 0
    assert "--count is a number from 1 to 5000" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
