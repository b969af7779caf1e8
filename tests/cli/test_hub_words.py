"""`download`, `models`, `upload` and `train --download`, against a hub on this computer."""

import json
import shutil

import pytest

from app.cli import main
from tests.trainer.conftest import build_pico, write_images
from tests.trainer.hub_server import Hub, serve_hub

SETTINGS = [
    "--name=cli",
    "--set=dataset.resolution=32",
    "--set=dataset.bucket_step=4",
    "--set=train.steps=1",
    "--set=samples.every_steps=0",
]


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    return build_pico(tmp_path_factory.mktemp("hub-words") / "model")


@pytest.fixture
def hub(monkeypatch, tmp_path, pico):
    # A training closes the network for its process, and the next test opens it again.
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serve_hub(Hub()) as served:
        served.add_folder("anna/pico", pico)
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture
def workspace(tmp_path):
    return tmp_path / "workspace"


def test_a_model_is_downloaded_listed_and_trained_on_by_its_hub_id(
    hub, workspace, tmp_path, capsys
):
    assert main(["download", "anna/pico", f"--workspace={workspace}"]) == 0
    said = capsys.readouterr()
    assert f"base model: {workspace / 'models' / 'anna--pico'}" in said.out
    assert "anna--pico  SD 1.x, epsilon" in said.out
    assert "anna/pico: " in said.err
    assert main(["models", "--json", f"--workspace={workspace}"]) == 0
    (model,) = json.loads(capsys.readouterr().out)
    assert model["name"] == "anna--pico"
    assert model["family"] == "sd15"
    images = write_images(tmp_path / "images", [(32, 32)] * 2)
    words = ["train", f"--workspace={workspace}", f"--dataset={images}", *SETTINGS]
    assert main([*words, "--base-model=anna/pico"]) == 0
    run = next((workspace / "runs").iterdir())
    assert 'path = "anna/pico"' in (run / "config.toml").read_text()
    assert (run / "cli.safetensors").stat().st_size > 0


def test_train_fetches_the_base_model_where_it_is_told_to(hub, workspace, tmp_path, capsys):
    images = write_images(tmp_path / "images", [(32, 32)] * 2)
    words = ["train", f"--workspace={workspace}", f"--dataset={images}", *SETTINGS]
    assert main([*words, "--base-model=anna/pico"]) == 2
    assert "`lorasmith download anna/pico` fetches it" in capsys.readouterr().err
    assert not (workspace / "runs").exists()
    assert main([*words, "--base-model=anna/pico", "--download", "--create-only"]) == 0
    assert (workspace / "models" / "anna--pico" / "model_index.json").is_file()


def test_progress_is_printed_as_lines_of_json(hub, workspace, capsys):
    assert main(["download", "anna/pico", "--json", f"--workspace={workspace}"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"download"}
    assert events[-2]["done"] == events[-2]["total"] > 0
    assert events[-1]["event"] == "done"
    assert events[-1]["family"] == "sd15"


def test_a_download_that_is_no_base_model_of_ours_says_so(hub, workspace, capsys):
    config = json.loads(hub.repositories["anna/pico"]["unet/config.json"])
    inpainting = json.dumps(config | {"in_channels": 9}).encode()
    hub.repositories["anna/pico"]["unet/config.json"] = inpainting
    assert main(["download", "anna/pico", f"--workspace={workspace}"]) == 1
    assert "9 channels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["download", "anna/gone"], "shows no model anna/gone"),
        (["download", "nonsense"], "is not a hub id"),
        (["models", "anna/gone"], "`lorasmith download anna/gone` fetches it"),
        (["upload", "nowhere", "anna/mine"], "nowhere contains no adapter"),
        (["grid", "x.safetensors", "--base-model=anna/gone", "--prompt=a"], "was not downloaded"),
    ],
)
def test_what_goes_wrong_is_one_sentence(hub, workspace, capsys, words, says):
    assert main([*words, f"--workspace={workspace}"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lorasmith: ")
    assert says in errors
    assert len(errors.splitlines()) == 1


def test_models_looks_at_any_path_and_says_what_it_is_not(hub, workspace, tmp_path, pico, capsys):
    (workspace / "models").mkdir(parents=True)
    assert main(["models", f"--workspace={workspace}"]) == 0
    assert "There are no base models" in capsys.readouterr().out
    shutil.copytree(pico, workspace / "models" / "good")
    (workspace / "models" / "bad.ckpt").write_bytes(b"PK")
    (workspace / "models" / "worse.safetensors").write_bytes(b"no header")
    (workspace / "models" / ".partial").mkdir()
    assert main(["models", f"--workspace={workspace}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        "bad.ckpt",
        "good",
        "worse.safetensors",
    ]
    assert "is a pickle" in lines[1]
    assert main(["models", str(pico), "--json", f"--workspace={workspace}"]) == 0
    (model,) = json.loads(capsys.readouterr().out)
    assert model["layout"] == "folder"
    assert main(["models", str(tmp_path / "nowhere"), f"--workspace={workspace}"]) == 0
    assert "There is no base model at" in capsys.readouterr().out
