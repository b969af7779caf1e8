"""Downloads of models, against a hub on this computer that speaks the real one's language."""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
import types

import pytest

from tests.trainer.conftest import ROOT
from tests.trainer.hub_server import COMMIT, Hub, serve_hub
from trainer.hub import HubError, download_base_model, download_matching, find_token
from trainer.runs import RunError
from trainer.runs.base_models import find_base_model, is_hub_id, parse_hub_id

TOKEN = "hf_veryverysecrettoken"
MIB = 1 << 20
NOT_OURS = 1  # what was downloaded is no model that can be trained: here it is only bytes


@pytest.fixture
def hub(monkeypatch, tmp_path):
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serve_hub(Hub()) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def small_model():
    """A repository's files; the weights are only bytes here."""
    files = {"model_index.json": b"{}", "README.md": b"card", "v1-5.safetensors": b"W" * 900}
    for part in ("unet", "vae"):
        files[f"{part}/config.json"] = b'{"a": 1}'
        files[f"{part}/diffusion_pytorch_model.safetensors"] = part.encode() * 300
        files[f"{part}/diffusion_pytorch_model.fp16.safetensors"] = part.encode() * 150
        files[f"{part}/diffusion_pytorch_model.bin"] = b"pickle"
    files["text_encoder/config.json"] = b"{}"
    files["text_encoder/model.safetensors"] = b"t" * 500
    files["tokenizer/vocab.json"] = b"{}"
    files["tokenizer/merges.txt"] = b"a b"
    files["tokenizer/tokenizer_config.json"] = b"{}"
    files["scheduler/scheduler_config.json"] = b"{}"
    files["safety_checker/model.safetensors"] = b"s" * 100
    return files


def fetch(tmp_path, hub_id, token="", **options):
    reports = []
    path = download_base_model(
        hub_id, tmp_path / "models", token, lambda *said: reports.append(said), **options
    )
    return path, reports


def names_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_what_a_base_model_needs_is_downloaded(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    path, reports = fetch(tmp_path, "anna/model")
    assert path == tmp_path / "models" / "anna--model"
    assert names_in(path) == {
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "scheduler/scheduler_config.json",
    }
    total = sum((path / name).stat().st_size for name in names_in(path))
    assert reports[0] == (0, total)
    assert reports[-1] == (total, total)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_full_precision_takes_the_plain_weights(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    path, _ = fetch(tmp_path, "anna/model@v2", half=False)
    assert path.name == "anna--model@v2"
    weights = path / "unet" / "diffusion_pytorch_model.safetensors"
    assert weights.read_bytes() == b"unet" * 300


SHARDS = {
    "": "diffusion_pytorch_model-{:05d}-of-00002.safetensors",
    ".fp16": "diffusion_pytorch_model.fp16-{:05d}-of-00002.safetensors",
    "old .fp16": "diffusion_pytorch_model-{:05d}-of-00002.fp16.safetensors",
}


@pytest.mark.parametrize("kind", SHARDS)
def test_a_sharded_set_comes_whole_with_its_index(hub, tmp_path, kind):
    files = small_model()
    for name in [name for name in files if name.startswith("unet/diffusion")]:
        del files[name]
    index = f"unet/diffusion_pytorch_model.safetensors.index{kind.removeprefix('old ')}.json"
    shards = [f"unet/{SHARDS[kind].format(number)}" for number in (1, 2)]
    hub.repositories["anna/model"] = files | dict.fromkeys([index, *shards], b"x")
    path, _ = fetch(tmp_path, "anna/model")
    assert {name for name in names_in(path) if "unet/diff" in name} == {index, *shards}
    del hub.repositories["anna/model"][shards[1]]
    with pytest.raises(HubError, match="lacks the weights of its unet"):
        fetch(tmp_path / "again", "anna/model")


def test_one_file_of_a_repository_becomes_one_file(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    path, _ = fetch(tmp_path, "anna/model/v1-5.safetensors")
    assert path == tmp_path / "models" / "anna--model--v1-5.safetensors"
    assert path.read_bytes() == b"W" * 900


def test_what_is_there_already_is_not_asked_for_again(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    first, _ = fetch(tmp_path, "anna/model")
    hub.seen.clear()
    second, _ = fetch(tmp_path, "anna/model")
    assert first == second
    assert hub.seen == []


@pytest.mark.slow
def test_a_killed_download_continues_where_it_stopped(hub, tmp_path):
    files = small_model()
    big = "unet/diffusion_pytorch_model.fp16.safetensors"
    files[big] = os.urandom(26 * MIB)
    hub.repositories["anna/model"] = files
    hub.stall_after[big] = 24 * MIB
    command = [sys.executable, "-m", "app.cli", "download", "anna/model"]
    command += [f"--workspace={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    partial = tmp_path / "models" / ".partial" / "anna--model" / "unet"
    deadline = time.monotonic() + 240
    while sum(part.stat().st_size for part in partial.glob("*.part")) < 20 * MIB:
        assert time.monotonic() < deadline, process.communicate(timeout=5)
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "models" / "anna--model").exists()
    arrived = sum(part.stat().st_size for part in partial.glob("*.part"))
    hub.stall_after.clear()
    hub.served.clear()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == NOT_OURS, done.stderr
    assert arrived >= 20 * MIB
    assert hub.served == {big: len(files[big]) - arrived}
    assert (tmp_path / "models" / "anna--model" / big).read_bytes() == files[big]


def test_a_connection_that_breaks_off_is_a_sentence_and_keeps_what_arrived(hub, tmp_path):
    hub.repositories["anna/model"] = {"a.safetensors": b"x" * 1000}
    hub.announced["a.safetensors"] = 2000
    with pytest.raises(HubError, match=r"broke off\. The same command continues"):
        fetch(tmp_path, "anna/model/a.safetensors")
    part = next((tmp_path / "models" / ".partial").rglob("*.part"))
    assert part.stat().st_size == 1000


def test_a_file_longer_than_announced_is_not_written(hub, tmp_path):
    hub.repositories["anna/model"] = {"a.safetensors": b"x" * 3000}
    hub.announced["a.safetensors"] = 2000
    with pytest.raises(HubError, match=r"More arrives for a\.safetensors"):
        fetch(tmp_path, "anna/model/a.safetensors")
    assert all(p.stat().st_size <= 2000 for p in (tmp_path / "models").rglob("*.part"))


@pytest.mark.parametrize("name", ["a.safetensors", "unet/config.json"])
def test_bytes_that_differ_from_the_checksum_are_thrown_away(hub, tmp_path, name):
    hub.repositories["anna/model"] = small_model() | {"a.safetensors": b"x" * 100}
    hub.spoiled.add(name)
    wanted = "anna/model/a.safetensors" if name.startswith("a.") else "anna/model"
    with pytest.raises(HubError, match=f"{name} arrived damaged"):
        fetch(tmp_path, wanted)
    hub.spoiled.clear()
    path, _ = fetch(tmp_path, wanted)
    assert path.exists()


def test_another_commit_does_not_continue_the_old_weights(hub, tmp_path):
    hub.repositories["anna/model"] = {"a.safetensors": b"x" * 1000}
    hub.announced["a.safetensors"] = 2000
    with pytest.raises(HubError):
        fetch(tmp_path, "anna/model/a.safetensors")
    hub.announced.clear()
    hub.repositories["anna/model"] = {"a.safetensors": b"y" * 1500}
    path, _ = fetch(tmp_path, "anna/model/a.safetensors")
    assert path.read_bytes() == b"y" * 1500
    assert list((tmp_path / "models" / ".partial").rglob("*.part")) == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    hub.announced["unet/diffusion_pytorch_model.fp16.safetensors"] = 10**17
    with pytest.raises(HubError, match=r"needs 100,000,000,[\d,]+ bytes more .* are free"):
        fetch(tmp_path, "anna/model")
    assert sum(hub.served.values()) == 0


def list_broken_requests():
    pickled = {name: b"" for name in small_model() if not name.endswith(".safetensors")}
    no_unet = {n: b"" for n in small_model() if not n.startswith("unet/")}
    return [
        ("anna/gone", {}, {}, "shows no model anna/gone"),
        ("anna/model@v9", {}, {}, "has no revision v9"),
        ("anna/model/gone.safetensors", {}, {}, "has no file gone.safetensors; it has "),
        ("anna/model/v1.ckpt", {}, {}, "is a pickle"),
        ("anna/model", pickled, {}, "offers its unet only as a pickle"),
        ("anna/model", no_unet, {}, "has no unet/"),
        ("anna/model", {"a.safetensors": b""}, {}, "lorasmith download anna/model/a.safetensors"),
        ("anna/model", {"a.ckpt": b""}, {}, "only as a pickle"),
        ("anna/model", {"README.md": b""}, {}, "holds no base model"),
        ("anna/model", None, {"closed": (403, "GatedRepo")}, "accept it on http://127.0.0.1"),
        ("anna/model", None, {"answers": (401, "GatedRepo")}, "set it as HF_TOKEN"),
        ("anna/model", None, {"answers": (403, "")}, "set it as HF_TOKEN"),
        ("anna/model", None, {"closed": (401, "")}, "shows no model anna/model"),
        ("anna/model", None, {"closed": (429, "")}, "too many requests"),
        ("anna/model", None, {"closed": (500, "")}, "the error 500"),
        ("anna/model", None, {"answers": (404, "EntryNotFound")}, "shows no model"),
        ("just-a-name", None, {}, "is not a hub id"),
        ("../../etc/passwd", None, {}, "is not a hub id"),
    ]


@pytest.mark.parametrize(("hub_id", "files", "trouble", "says"), list_broken_requests())
def test_what_goes_wrong_is_a_sentence_and_leaves_no_model(
    hub, tmp_path, hub_id, files, trouble, says
):
    hub.repositories["anna/model"] = files or small_model()
    for name, answer in trouble.items():
        getattr(hub, name)["anna/model"] = answer
    with pytest.raises(HubError) as caught:
        fetch(tmp_path, hub_id)
    message = str(caught.value)
    assert says in message
    assert message.endswith(".")
    assert "\n" not in message
    models = tmp_path / "models"
    assert not models.exists() or [p.name for p in models.iterdir()] in ([], [".partial"])


def test_names_that_lead_out_of_the_folder_are_never_written(hub, tmp_path):
    files = small_model()
    files |= {"unet/../../../../evil.json": b"{}", "/etc/evil.json": b"{}", "unet/x/y.json": b""}
    hub.repositories["anna/model"] = files
    path, _ = fetch(tmp_path, "anna/model")
    assert not any("evil" in name or "y.json" in name for name in names_in(tmp_path))
    assert names_in(path) <= set(files)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HF_ENDPOINT", "http://127.0.0.1:9", "There is no connection to 127.0.0.1:9"),
        ("HF_ENDPOINT", "nonsense", "HF_ENDPOINT is not a URL"),
        ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE is set"),
    ],
)
def test_without_a_network_it_says_so(hub, tmp_path, monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)
    with pytest.raises(HubError, match=says):
        fetch(tmp_path, "anna/model")


def test_an_answer_that_is_no_listing_is_told(hub, tmp_path, monkeypatch):
    hub.repositories["anna/model"] = small_model()
    monkeypatch.setattr(Hub, "describe", lambda *_: ["please log in"])
    with pytest.raises(HubError, match="does not answer as the hub does"):
        fetch(tmp_path, "anna/model")


def test_the_network_is_closed_again_after_a_download(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.repositories["anna/model"] = small_model()
    fetch(tmp_path, "anna/model")
    assert constants.HF_HUB_OFFLINE


def test_two_downloads_of_one_model_do_not_mix(hub, tmp_path):
    from filelock import FileLock

    hub.repositories["anna/model"] = small_model()
    partial = tmp_path / "models" / ".partial"
    partial.mkdir(parents=True)
    with (
        FileLock(partial / "anna--model.lock"),
        pytest.raises(HubError, match="by another process"),
    ):
        fetch(tmp_path, "anna/model")


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    with serve_hub(Hub()) as cdn:
        cdn.repositories = hub.repositories
        hub.cdn = cdn.url.replace("127.0.0.1", "localhost")
        path, _ = fetch(tmp_path, "anna/model", token=TOKEN)
        assert (path / "text_encoder" / "model.safetensors").stat().st_size == 500
        assert {said for _, _, said in hub.seen} == {f"Bearer {TOKEN}"}
        assert len(cdn.seen) == 3
        assert {said for _, _, said in cdn.seen} == {""}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("closed", (401, "")),
        ("closed", (403, "GatedRepo")),
        ("answers", (403, "")),
        ("answers", (500, "")),
    ],
)
def test_the_token_is_in_no_error_and_no_log(hub, tmp_path, caplog, capfd, kind, answer):
    hub.repositories["anna/model"] = small_model()
    getattr(hub, kind)["anna/model"] = answer
    with caplog.at_level("INFO"), pytest.raises(HubError) as caught:
        fetch(tmp_path, "anna/model", token=TOKEN)
    assert any(said == f"Bearer {TOKEN}" for _, _, said in hub.seen)
    shown = "".join(traceback.format_exception(caught.value))
    said = capfd.readouterr()
    assert TOKEN not in shown + caplog.text + said.out + said.err


def test_the_command_says_and_writes_no_token_even_when_debugging(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    command = [sys.executable, "-m", "app.cli", "download", "anna/model"]
    done = subprocess.run(
        [*command, f"--workspace={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "HF_TOKEN": TOKEN, "HF_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == NOT_OURS, done.stderr
    assert {said for _, _, said in hub.seen} == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []


def test_a_token_that_cannot_be_one_is_not_quoted(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    with pytest.raises(HubError, match="contains spaces or special characters") as caught:
        fetch(tmp_path, "anna/model", token=f"{TOKEN} \n{TOKEN}")
    assert TOKEN not in str(caught.value)
    fetch(tmp_path, "anna/model", token=f"{TOKEN}\n")
    assert {said for _, _, said in hub.seen} == {f"Bearer {TOKEN}"}


def test_the_token_comes_from_the_environment_before_the_keyring(hub, monkeypatch):
    class KeyringError(Exception):
        pass

    kept = {("lorasmith", "hub-token"): "from-keyring"}
    keyring = types.ModuleType("keyring")
    keyring.get_password = lambda *key: kept.get(key)
    keyring.errors = types.ModuleType("keyring.errors")
    keyring.errors.KeyringError = KeyringError
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setitem(sys.modules, "keyring.errors", keyring.errors)
    monkeypatch.setenv("HF_TOKEN", "from-environment")
    assert find_token() == "from-environment"
    monkeypatch.setenv("HF_TOKEN", "")
    assert find_token() == "from-keyring"

    def refuse(*_):
        raise KeyringError

    keyring.get_password = refuse
    assert find_token() == ""


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("anna/model", "anna--model"),
        ("anna/model@v2", "anna--model@v2"),
        ("anna/model@refs/pr/1", "anna--model@refs--pr--1"),
        ("anna/model/sd 1.safetensors", "anna--model--sd_1.safetensors"),
        ("anna/model/sub/a.safetensors@v2", "anna--model--sub--a@v2.safetensors"),
    ],
)
def test_a_hub_id_has_one_place(text, entry):
    assert parse_hub_id(text).entry == entry
    assert str(parse_hub_id(text)) == text


NO_HUB_IDS = """model /a/b ./a/b ../a a/b/c a/../b a\\b C:/a ~/a a/b@ a--b/c a/b//c.safetensors
    a/b/../c.safetensors"""


@pytest.mark.parametrize("text", ["", *NO_HUB_IDS.split()])
def test_what_is_no_hub_id_is_not_taken_for_one(text):
    assert not is_hub_id(text)


def test_a_base_model_is_found_by_path_first_and_then_among_the_downloads(tmp_path, monkeypatch):
    models = tmp_path / "models"
    with pytest.raises(RunError, match="`lorasmith download anna/model`"):
        find_base_model("anna/model", models)
    (models / "anna--model").mkdir(parents=True)
    assert find_base_model("anna/model", models) == models / "anna--model"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anna" / "model").mkdir(parents=True)
    assert find_base_model("anna/model", models).resolve() == tmp_path / "anna" / "model"
    assert find_base_model(str(tmp_path / "x"), models) == tmp_path / "x"


def test_the_commit_is_fixed_for_all_files(hub, tmp_path):
    hub.repositories["anna/model"] = small_model()
    fetch(tmp_path, "anna/model")
    files = [path for _, path, _ in hub.seen if "/resolve/" in path]
    assert len(files) == 11
    assert all(f"/resolve/{COMMIT}/" in path for path in files)
    assert json.loads((tmp_path / "models/anna--model/model_index.json").read_text()) == {}


PATTERNS = ("config.json", "tokenizer*.json", "model.safetensors", "model-*-of-*.safetensors")


def captioner_files():
    return {
        "README.md": b"card",
        "config.json": b"{}",
        "tokenizer.json": b"[]",
        "tokenizer_config.json": b"{ }",
        "model.safetensors": b"w" * 700,
        "model.fp16.safetensors": b"h" * 350,
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"print()",
        "onnx/config.json": b"{}",
        "model-1-of-2.safetensors/../../../evil.safetensors": b"e",
        "../tokenizer.json": b"e",
        "tokenizer..json": b"e",
        "tokenizer\\x.json": b"e",
        ".tokenizer.json": b"e",
    }


def fetch_matching(tmp_path, hub_id, patterns=PATTERNS):
    reports, place = [], tmp_path / "captioners" / "mine"
    path = download_matching(hub_id, place, patterns, "", lambda *said: reports.append(said))
    assert path == place
    return path, reports


def test_only_files_whose_names_fit_are_downloaded(hub, tmp_path):
    hub.repositories["anna/sees"] = captioner_files()
    path, reports = fetch_matching(tmp_path, "anna/sees")
    wanted = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert names_in(path) == wanted
    assert reports[-1] == (707, 707)
    # Nothing anywhere but that, the lock and the folder of what is not complete.
    assert {name for name in names_in(tmp_path) if name.startswith("captioners/mine/")} == {
        f"captioners/mine/{name}" for name in wanted
    }
    assert not any("evil" in name for name in names_in(tmp_path.parent))
    hub.seen.clear()
    fetch_matching(tmp_path, "anna/sees")
    assert hub.seen == []


def test_parts_of_weights_come_together(hub, tmp_path):
    parts = {f"model-{n:05d}-of-00002.safetensors": b"p" * 10 for n in (1, 2)}
    hub.repositories["anna/sees"] = {"config.json": b"{}", **parts}
    path, _ = fetch_matching(tmp_path, "anna/sees@v2")
    assert names_in(path) == {"config.json", *parts}


def test_a_broken_download_by_names_goes_on(hub, tmp_path):
    hub.repositories["anna/sees"] = captioner_files()
    hub.announced["model.safetensors"] = 900
    with pytest.raises(HubError, match="broke off"):
        fetch_matching(tmp_path, "anna/sees")
    assert not (tmp_path / "captioners" / "mine").exists()
    hub.repositories["anna/sees"]["model.safetensors"] += b"w" * 200
    hub.served.clear()
    # The hub names large files by content, so the first part of other bytes is not gone on with.
    path, _ = fetch_matching(tmp_path, "anna/sees")
    assert (path / "model.safetensors").read_bytes() == b"w" * 900
    assert set(hub.served) == {"model.safetensors"}


@pytest.mark.parametrize(
    ("hub_id", "files", "says"),
    [
        ("anna/sees", {"config.json": b"{}", "pytorch_model.bin": b"p"}, "only as a pickle"),
        ("anna/sees", {"config.json": b"{}"}, r"has no file model\.safetensors or model-\*"),
        ("anna/sees/model.safetensors", captioner_files(), "is one file"),
        ("nonsense", {}, "is not a hub id"),
    ],
)
def test_a_repository_without_safe_weights_is_refused(hub, tmp_path, hub_id, files, says):
    hub.repositories["anna/sees"] = files
    with pytest.raises(HubError, match=says):
        fetch_matching(tmp_path, hub_id)
    assert not (tmp_path / "captioners" / "mine").exists()
    assert sum(hub.served.values()) == 0


def test_a_pattern_never_brings_a_pickle(hub, tmp_path):
    hub.repositories["anna/sees"] = captioner_files()
    path, _ = fetch_matching(tmp_path, "anna/sees", ("*",))
    assert "pytorch_model.bin" not in names_in(path)
    assert "model.safetensors" in names_in(path)
