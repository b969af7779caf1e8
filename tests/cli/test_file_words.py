"""What is done with LoRA files, and with the memory of a run, as a person types it."""

import json
import zipfile

import pytest
from PIL import Image

from app.cli import main
from app.core.jobs import Job
from app.library.singular_values import view_singular_values
from tests.trainer.conftest import STARTER, build_pico, write_images
from tests.trainer.upload_server import UploadHub, serve_uploads

SETTINGS = [
    "--name=cli",
    "--trigger=zorp",
    "--set=dataset.resolution=32",
    "--set=dataset.bucket_step=4",
    "--set=train.steps=2",
    "--set=optimizer.unet_learning_rate=0.01",
    "--set=optimizer.text_learning_rate=0.01",
    "--set=adapter.rank=4",
    "--set=samples.every_steps=2",
    "--set=samples.inference_steps=1",
    "--set=output.precision=fp32",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a finished run: (workspace, base model, images, run)."""
    workspace = tmp_path_factory.mktemp("file-words")
    pico = build_pico(workspace / "models" / "pico")
    images = write_images(workspace / "datasets" / "blobs", [(32, 32)] * 2)
    words = ["train", f"--workspace={workspace}", f"--dataset={images}", f"--base-model={pico}"]
    assert main([*words, *SETTINGS]) == 0
    (run,) = (workspace / "runs").iterdir()
    return workspace, pico, images, run


@pytest.fixture
def file(trained):
    return trained[3] / "cli.safetensors"


def test_inspect_says_what_a_file_is(file, capsys):
    assert main(["inspect", str(file)]) == 0
    said = capsys.readouterr().out
    assert "cli.safetensors: LoRA" in said
    assert "ComfyUI" in said
    assert main(["inspect", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trigger"] == "zorp"
    assert found["settings"]["adapter"]["rank"] == 4
    assert found["header"]["modelspec.trigger_phrase"] == "zorp"
    assert {each["program"] for each in found["programs"]} >= {"diffusers", "ComfyUI"}


def test_inspect_describes_and_measures_a_base_model(tmp_path, capsys):
    assert main(["inspect", str(STARTER), f"--workspace={tmp_path}"]) == 0
    assert "starter-model  SD 1.x, epsilon" in capsys.readouterr().out
    assert not (tmp_path / "base-models.json").exists()
    words = ["inspect", str(STARTER), "--measure", f"--workspace={tmp_path}"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "starter-model predicts the noise, by measurement" in shown
    assert "time step 750: answer = " in shown
    # The app has it from there.
    known = json.loads((tmp_path / "base-models.json").read_text())
    assert known["measured"][str(STARTER)]["prediction"] == "epsilon"
    assert main([*words, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["family"], described["measured"]["prediction"]) == ("sd15", "epsilon")


def test_spectrum_is_one_line_of_json_that_the_app_can_draw(trained, file, capsys):
    assert main(["inspect", str(file), "--json", "--spectrum", f"--base-model={trained[1]}"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    drawn = view_singular_values(Job("inspect-0", "done", json.loads(said)))
    assert {bar.section for bar in drawn.bars} == {"text", "down", "mid", "up"}
    assert all(bar.relative > 0 and 0 < bar.used <= bar.rank for bar in drawn.bars)
    shares = [share for _, share, _ in drawn.shares]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_verify_finds_nothing_in_our_file_and_exits_with_1_for_a_damaged_one(
    file, tmp_path, capsys
):
    assert main(["verify", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: no findings\n"
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(file.read_bytes()[:-100])
    assert main(["verify", str(file), str(damaged)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{damaged}: 1 finding"
    assert lines[2].startswith("  error: ")
    assert main(["verify", str(damaged), "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["file"] == str(damaged)
    assert told["findings"][0]["severity"] == "error"


def test_header_shows_what_will_be_written_and_what_essential_leaves_out(trained, capsys):
    workspace, pico, images, run = trained
    words = [f"--workspace={workspace}", "--json"]
    assert main(["header", run.name, *words]) == 0
    header = json.loads(capsys.readouterr().out)
    assert header["modelspec.trigger_phrase"] == "zorp"
    settings = [f"--dataset={images}", f"--base-model={pico}", *SETTINGS]
    assert main(["header", *settings, "--set=output.header=essential", *words]) == 0
    essential = json.loads(capsys.readouterr().out)
    assert set(essential) < set(header)
    assert "ss_steps" in set(header) - set(essential)


def test_header_cuts_long_entries_for_a_person(trained, capsys):
    workspace, _, _, run = trained
    assert main(["header", run.name, f"--workspace={workspace}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ss_seed: 42" in lines
    assert max(len(line) for line in lines) < 250
    assert any(line.endswith(" letters)") for line in lines)


def test_a_run_is_packed_for_civitai(trained, tmp_path, capsys):
    workspace, _, _, run = trained
    to = tmp_path / "packed.zip"
    words = [f"--workspace={workspace}", f"--civitai={to}"]
    assert main(["bundle", run.name, *words]) == 0
    assert f"zip: {to}" in capsys.readouterr().out
    with zipfile.ZipFile(to) as archive:
        names = archive.namelist()
        assert "cli.safetensors" in names
        assert any(name.endswith(".png") for name in names)


def test_a_run_becomes_a_folder_for_the_hub_and_arrives_there(
    trained, tmp_path, monkeypatch, capsys
):
    from huggingface_hub import constants

    workspace, _, _, run = trained
    folder = tmp_path / "mine"
    words = [f"--workspace={workspace}", f"--hub={folder}", "--base-model=anna/pico"]
    assert main(["bundle", run.name, *words]) == 0
    assert f"folder: {folder}" in capsys.readouterr().out
    assert 'base_model: "anna/pico"' in (folder / "README.md").read_text()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve_uploads(UploadHub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["upload", str(folder), "anna/mine", "--private"]) == 0
    said = capsys.readouterr()
    assert f"uploaded: {hub.url}/anna/mine" in said.out
    assert "hf_secret" not in said.out + said.err
    assert {"README.md", "cli.safetensors"} <= set(hub.files)
    (created,) = hub.created  # how it says so depends on huggingface_hub's version
    assert created.get("visibility", created.get("private")) in {"private", True}


def test_a_new_run_starts_from_the_weights_of_a_file(trained, file, capsys):
    workspace, pico, images, _ = trained
    words = ["train", f"--workspace={workspace}", f"--dataset={images}", f"--base-model={pico}"]
    rates = [f"--set=optimizer.{part}_learning_rate=1e-8" for part in ("unet", "conv", "text")]
    options = [*rates, "--set=train.steps=1", "--name=further"]
    assert main([*words, *SETTINGS, *options, f"--continue-from={file}"]) == 0
    further = next((workspace / "runs").glob("*_further")) / "further.safetensors"
    capsys.readouterr()
    from safetensors.numpy import load_file

    before, after = load_file(file), load_file(further)
    assert set(before) == set(after)
    moved = {key: abs(before[key] - after[key]).max() for key in before}
    assert max(moved.values()) < 1e-4
    assert any(abs(before[key]).max() > 1e-3 for key in before if "lora_up" in key)


def test_a_grid_mixes_files_by_their_shares(trained, file, tmp_path, capsys):
    _, pico, _, _ = trained
    options = ["--prompt=a", "--steps=1", "--width=32", "--height=32", f"--base-model={pico}"]

    def draw(name, *words):
        to = tmp_path / f"{name}.png"
        assert main(["grid", *words, *options, f"--to={to}"]) == 0
        return Image.open(to).tobytes()

    alone = draw("alone", str(file), "--weight", "0", "1")
    halves = [f"--lora={file}:0.5", f"--lora={file}:0.5"]
    assert draw("halves", *halves, "--weight", "0", "1") == alone
    assert draw("cancel", str(file), f"--lora={file}:-1", "--weight", "0", "1") != alone


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["inspect", "gone.safetensors"], "gone.safetensors"),
        (["bundle", "gone", "--civitai=x.zip"], "gone is neither a LoRA file nor a run"),
        (["bundle", "gone"], "--hub DIR, --civitai ZIP or both"),
        (["header", "gone"], "is not a run"),
        (["upload", ".", "anna/mine"], "contains no adapter"),
        (["train", "--continue-from=gone.safetensors"], "There is no LoRA file at gone"),
        (["grid", "--base-model=.", "--prompt=a"], "Name a LoRA file"),
        (["estimate", "gone"], "is not a run"),
        (["probe", "--set=adapter.rank=0"], "1 setting is wrong"),
    ],
)
def test_what_goes_wrong_is_one_message(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main([*words, f"--workspace={tmp_path}"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lorasmith: ")
    assert says in errors
    assert list(tmp_path.iterdir()) == []


def test_settings_beside_a_run_are_refused(trained, capsys):
    workspace, _, _, run = trained
    assert main(["train", run.name, "--name=other", f"--workspace={workspace}"]) == 2
    assert "--name cannot be given with it" in capsys.readouterr().err
    assert main(["estimate", run.name, "--set=train.steps=3", f"--workspace={workspace}"]) == 2
    assert "--set cannot be given with it" in capsys.readouterr().err


@pytest.mark.slow
def test_an_estimate_says_what_would_make_a_run_fit(trained, capsys):
    workspace, _, _, run = trained
    words = ["estimate", run.name, f"--workspace={workspace}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "training step" in said
    assert "It fits: " in said
    words += ["--device=cuda", "--json"]
    assert main([*words, "--free=100"]) == 0
    needed = json.loads(capsys.readouterr().out)["needed_bytes"]
    free = needed - 1_000_000  # so that the first change is enough
    assert main([*words, f"--free={free / 1e9:.9f}"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["fits"] is True
    assert planned["free_bytes"] == free
    assert planned["plan"]["settings"] == {"train.recompute": "activations"}
    assert planned["plan"]["needed_bytes"] <= free
    assert main([*words, "--free=0.1"]) == 1  # less than the fixed part of the reserve
    told = json.loads(capsys.readouterr().out)
    assert told["fits"] is False
    assert told["plan"] is None
    assert told["suggestions"]
    assert not any(each["fits"] for each in told["suggestions"])
    assert told["device"] == "cuda in bf16"
    assert told["peak_bytes"] == max(phase["peak_bytes"] for phase in told["phases"])
    assert told["needed_bytes"] > told["peak_bytes"]


def test_a_probe_measures_and_leaves_nothing(trained, capsys):
    workspace, _, _, run = trained
    before = sorted(workspace.rglob("*"))
    assert main(["probe", run.name, "--json", f"--workspace={workspace}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cpu"
    assert 0 < found["peak_bytes"] < found["resident_bytes"]
    assert found["seconds_per_step"] > 0
    assert sorted(workspace.rglob("*")) == before
