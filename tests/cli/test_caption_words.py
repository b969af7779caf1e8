"""`caption` and `captioners`, on small random models and a hub on this computer."""

import json
import shutil

import pytest
from PIL import Image

from app.cli import main
from datasets_tools.captioners import blip, extras, places
from tests.datasets_tools.tiny_captioners import build_blip, build_tagger
from tests.trainer.hub_server import Hub, serve_hub


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("caption-words")
    return {"blip": build_blip(root / "blip"), "tagger": build_tagger(root / "tagger")}


@pytest.fixture
def hub(monkeypatch, tmp_path, models):
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serve_hub(Hub()) as served:
        served.add_folder("SmilingWolf/wd-vit-tagger-v3", models["tagger"])
        served.add_folder("anna/sees", models["blip"])
        served.repositories["anna/sees"]["pytorch_model.bin"] = b"pickle"
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "my images"
    folder.mkdir()
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "#808080")):
        Image.new("RGB", (32, 32), colour).save(folder / f"{name}.png")
    (folder / "c.txt").write_text("grey", encoding="utf-8")
    return folder


@pytest.fixture
def say(tmp_path, dataset, capsys):
    """Returns a function that runs `caption DATASET ...` and returns code, output and complaint."""

    def run(*words):
        code = main(["caption", str(dataset), f"--workspace={tmp_path}/space", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_dataset_is_captioned_as_lines_of_json(say, dataset, models):
    words = ["--captioner=tagger", "--model", models["tagger"], "--json", "--existing=append"]
    code, out, err = say(*words)
    assert code == 0
    assert err == ""
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "load"},
        {
            "event": "caption",
            "image": "a.png",
            "caption": "anna (red), tom (cat), red theme, ^_^, 1girl",
            "outcome": "written",
            "message": "",
            "done": 1,
            "total": 3,
        },
        {
            "event": "caption",
            "image": "b.png",
            "caption": "blue theme",
            "outcome": "written",
            "message": "",
            "done": 2,
            "total": 3,
        },
        {
            "event": "caption",
            "image": "c.png",
            "caption": "grey",
            "outcome": "unsure",
            "message": "The captioner cannot tell what this is.",
            "done": 3,
            "total": 3,
        },
        {"event": "done", "written": 2, "unsure": 1, "kept": 0, "failed": 0},
    ]
    assert (dataset / "b.txt").read_text() == "blue theme"


def test_a_person_reads_what_happened_and_how_to_take_it_back(say, dataset, models, capsys):
    (dataset / "b.png").write_bytes(b"none")
    code, out, _ = say("--captioner=tagger", f"--model={models['tagger']}", "--threshold=0.9")
    assert code == 1
    lines = out.splitlines()
    assert lines[1] == "1/3 a.png  anna (red), tom (cat), red theme, ^_^, 1girl"
    assert lines[2].startswith("2/3 b.png  failed: b.png is not an image")
    assert lines[3] == "3/3 c.png  kept"
    assert lines[4] == "1 caption was written; 0 unsure, 1 kept, 1 failed."
    undo = lines[5].partition(": lorasmith ")[2]
    assert undo == f"captions '{dataset}' --undo"
    assert main(["captions", str(dataset), "--undo"]) == 0
    assert "Suggested by tagger" in capsys.readouterr().out
    assert not (dataset / "a.txt").exists()


def test_a_captioner_is_downloaded_once_and_captions(hub, say, tmp_path, dataset):
    code, _, err = say("--captioner=tagger")
    assert code == 2
    for part in ("SmilingWolf/wd-vit-tagger-v3", "0.4 GB", "Apache-2.0", "--download"):
        assert part in err
    code, out, _ = say("--captioner=tagger", "--download", "--json")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    downloads = [event for event in events if event["event"] == "download"]
    assert downloads[0]["done"] == 0
    assert downloads[-1]["done"] == downloads[-1]["total"] > 0
    assert events.index({"event": "load"}) == len(downloads)
    assert (dataset / "a.txt").read_text().startswith("anna")
    place = tmp_path / "space" / "captioners" / "tagger"
    assert sorted(path.name for path in place.iterdir()) == ["model.onnx", "selected_tags.csv"]
    hub.seen.clear()
    assert say("--captioner=tagger", "--download", "--existing=replace")[0] == 0
    assert hub.seen == []


def test_another_model_of_the_hub_has_a_folder_of_its_own(hub, say, tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(blip, "_MAX_TOKENS", 6)
    words = ["--captioner=blip", "--model=anna/sees"]
    code, _, err = say(*words)
    assert code == 2
    assert "anna/sees is not here" in err
    assert "Add --download" in err
    code, _, err = say(*words, "--download", "--prompt=the cat", "--device=cpu")
    assert code == 0, err
    assert "anna/sees: " in err  # how far the download is
    assert (dataset / "a.txt").read_text().startswith("the cat")
    place = tmp_path / "space" / "captioners" / "anna--sees"
    assert (place / "model.safetensors").is_file()
    assert not (place / "pytorch_model.bin").exists()
    assert say(*words)[0] == 0
    hub.repositories["anna/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"p"}
    code, _, err = say("--captioner=blip", "--model=anna/pickled", "--download")
    assert code == 2
    assert "only as a pickle" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--captioner=taggr"], "Did you mean tagger?"),
        (["--captioner=tagger", "--threshold=7"], "--threshold: must be less than or equal to 1"),
        (["--captioner=tagger", "--prompt=x"], "has no prompt"),
        (["--max-words=-3"], "--max-words: must be greater than or equal to 0, but is -3."),
        (["--captioner=tagger", "--model=/nowhere"], "There is no folder /nowhere"),
        (["--captioner=starter", "--model=anna/sees"], "takes no model from the hub"),
        (["--captioner=blip", "--model=anna/sees/x.bin", "--download"], "is one file"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(hub, say, dataset, words, says):
    code, out, err = say(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("lorasmith: ")
    assert says in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in dataset.glob("*.txt")) == ["c.txt"]


def test_nothing_is_downloaded_for_a_dataset_that_is_not_there(hub, say, dataset):
    shutil.rmtree(dataset)
    code, _, err = say("--captioner=tagger", "--download")
    assert code == 2
    assert "There is no folder my images" in err
    assert hub.seen == []


def test_nothing_is_downloaded_without_the_package(hub, say, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    code, _, err = say("--captioner=tagger", "--download")
    assert code == 2
    assert 'pip install "lorasmith[tagger]"' in err
    assert hub.seen == []


def test_the_captioners_are_listed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(places, "SHIPPED_FOLDER", tmp_path / "shipped")
    (tmp_path / "captioners" / "blip").mkdir(parents=True)
    assert main(["captioners", "--json", f"--workspace={tmp_path}"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert list(listed) == ["starter", "blip", "florence2", "tagger", "vlm"]
    assert listed["blip"]["available"] is True
    assert listed["blip"]["place"] == str(tmp_path / "captioners" / "blip")
    assert listed["blip"]["takes"] == ["prompt"]
    assert listed["starter"]["available"] is False
    assert listed["tagger"]["size_bytes"] > 300_000_000
    assert listed["tagger"]["needs"] == ""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert main(["captioners", f"--workspace={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "blip  BLIP. " in out
    assert "add --download to fetch it" in out
    assert 'pip install "lorasmith[tagger]"' in out
