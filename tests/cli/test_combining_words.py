"""Merging, baking and the like, as a person types it."""

import json

import pytest

from app.cli import main
from tests.app.fake_combining import REPORTS
from tests.trainer.conftest import build_pico
from tests.trainer.random_adapters import write_adapter
from trainer.formats.header import read_header


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base model and two LoRA files."""
    place = tmp_path_factory.mktemp("combining")
    build_pico(place / "base")
    for number, name in enumerate("ab"):
        write_adapter(place / f"{name}.safetensors", place / "base", seed=number)
    return place


@pytest.fixture
def run(folder, tmp_path, capsys, monkeypatch):
    """Returns a function that runs a command among the files and returns code, out and err."""
    monkeypatch.chdir(folder)

    def call(*arguments):
        code = main([str(each).replace("OUT", str(tmp_path)) for each in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_a_merge_prints_how_the_files_get_on(run, tmp_path):
    code, out, _ = run("merge", "a.safetensors:0.8", "b.safetensors", "--to=OUT/ab.safetensors",
                       "--method=ties", "--density=0.3", "--signs", "--rank=4")  # fmt: skip
    assert code == 0
    assert "a.safetensors and b.safetensors: cosine" in out
    assert "sign conflicts: " in out
    how = json.loads(read_header(tmp_path / "ab.safetensors").metadata["lorasmith.made_by"])
    assert (how["method"], how["weights"], how["density"]) == ("ties", [0.8, 1.0], 0.3)


def test_a_merge_prints_its_report_as_json(run):
    code, out, _ = run(
        "merge", "a.safetensors", "b.safetensors", "--to=OUT/x.safetensors", "--json"
    )
    report = json.loads(out)
    assert code == 0
    assert report["cosines"][0]["files"] == [0, 1]
    assert report["sign_conflicts"] == -1
    assert {"layer", "cosines", "lost", "rank", "norms"} <= set(report["layers"][0])


# What each command is given beside the place of its result.
REPORTED = {
    "merge": ["a.safetensors", "b.safetensors", "--signs"],
    "resize": ["a.safetensors", "--rank=2"],
    "extract": ["base", "OUT/baked", "--rank=2"],
    "scale": ["a.safetensors", "--mid-block=0.5"],
    "bake": ["a.safetensors", "--base-model=base"],
    "subtract": ["a.safetensors", "--base-model=base"],
}


@pytest.mark.parametrize("task", REPORTS)
def test_the_reports_that_the_app_is_tested_with_have_the_form_of_the_real_ones(task, run):
    if task == "extract":
        run("bake", "a.safetensors", "--base-model=base", "--to=OUT/baked")
    ending = "" if task in {"bake", "subtract"} else ".safetensors"
    code, out, _ = run(task, *REPORTED[task], f"--to=OUT/result{ending}", "--json")
    assert code == 0
    assert_form(json.loads(out), REPORTS[task])


def assert_form(real, fake):
    """Asserts that a made-up answer has the fields of a real one, with values of their types."""
    if isinstance(fake, dict) and all("." not in key for key in fake):
        assert fake.keys() <= real.keys()
        for key, value in fake.items():
            assert_form(real[key], value)
    elif isinstance(fake, list) and fake and real:
        assert_form(real[0], fake[0])
    else:
        numbers = (int, float)
        assert isinstance(real, numbers if isinstance(fake, numbers) else type(fake))


def test_a_merge_that_cannot_be_is_one_sentence(run, tmp_path):
    code, _, err = run("merge", "a.safetensors", "--to=OUT/x.safetensors")
    assert (code, err.count("\n")) == (2, 1)
    assert "A merge needs two files or more" in err
    assert list(tmp_path.iterdir()) == []


def test_baking_and_taking_out(run, tmp_path):
    code, out, _ = run("bake", "a.safetensors:0.5", "--base-model=base", "--to=OUT/baked")
    assert (code, out.splitlines()[0]) == (0, f"base model: {tmp_path / 'baked'}")
    assert "weights were changed" in out
    baked = f"--base-model={tmp_path / 'baked'}"
    code, out, _ = run("subtract", "a.safetensors:0.5", baked, "--to=OUT/back", "--json")
    assert code == 0
    assert json.loads(out)["layers"] > 0
    code, _, err = run("bake", "a.safetensors", "--base-model=base", "--to=OUT/baked")
    assert code == 2
    assert "exists" in err


def test_extracting_resizing_and_scaling(run, tmp_path):
    run("bake", "a.safetensors", "--base-model=base", "--to=OUT/baked")
    code, out, _ = run("extract", "base", tmp_path / "baked", "--to=OUT/x.safetensors", "--rank=4")
    assert code == 0
    assert "layers of rank 4; 100.0% of the energy is kept" in out
    code, out, _ = run("resize", "a.safetensors", "--to=OUT/small.safetensors", "--energy=0.8")
    assert code == 0
    assert "layers of rank 2 to 3; " in out
    code, out, _ = run("scale", "a.safetensors", "--to=OUT/y.safetensors", "unet.mid_block.*=0.5")
    assert code == 0
    assert "layers have another strength." in out
    code, _, err = run("scale", "a.safetensors", "unet.mid_block", "--to=OUT/z.safetensors")
    assert code == 2
    assert "is no PATTERN=FACTOR" in err


def test_all_that_is_wrong_with_the_options_is_one_line(run, tmp_path):
    wrong = ["--density=7", "--rank=2.5", "--method=magic", "--precision=fp8"]
    code, _, err = run("merge", "a.safetensors", "b.safetensors", "--to=OUT/x.safetensors", *wrong)
    assert (code, err.count("\n")) == (2, 1)
    for sentence in (
        "--density: must be less than or equal to 1, but is 7.0.",
        "--rank: must be a valid integer, but is '2.5'.",
        "--method: 'magic' is not allowed; choose 'svd',",
        "--precision: 'fp8' is not allowed; choose 'fp16', 'bf16' or 'fp32'.",
    ):
        assert sentence in err
    code, _, err = run("scale", "a.safetensors", "--to=OUT/x.safetensors")
    assert code == 2
    sentence = "Nothing changes: give a block a factor other than 1, or name layers."
    assert err == f"lorasmith: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


def test_blocks_are_scaled_by_their_options(run, tmp_path):
    code, out, _ = run(
        "scale", "a.safetensors", "--mid-block=0", "--to=OUT/y.safetensors", "--json"
    )
    assert code == 0
    factors = json.loads(out)["factors"]
    assert {factor for layer, factor in factors.items() if ".mid_block." in layer} == {0.0}
    assert {factor for layer, factor in factors.items() if ".mid_block." not in layer} == {1.0}


def test_the_spectrum_of_a_file_as_text_and_as_json(run):
    code, out, _ = run("inspect", "a.safetensors", "--singular-values")
    assert code == 0
    assert "the strongest first" in out
    code, out, _ = run("inspect", "a.safetensors", "--spectrum", "--base-model=base", "--json")
    layers = json.loads(out)["layers"]
    assert all(layer["relative_norm"] > 0 for layer in layers)
    assert set(layers[0]["energy"]) <= {"1", "2", "4", "8"}
