"""Names that every system can have: what Windows refuses is refused or changed everywhere alike."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.combine.drafts import suggest_name
from app.core.lora_files import _find_place
from app.core.workspace import Workspace, WorkspaceError
from datasets_tools.image_import import _choose_stem
from datasets_tools.names import change_name, explain_name, explain_path
from trainer.config import RunConfig
from trainer.runs import RunError, create_run, list_runs
from trainer.runs.base_models import parse_hub_id

DEVICES = ["CON", "prn", "Aux", "NUL", *(f"com{n}" for n in range(10)), "LPT9", "COM¹", "conin$"]
REFUSED = [
    "", ".", "..", "...", " ", "a.", "a ", "a. ", "a:b", "a<b", "a>b", 'a"b', "a/b", "a\\b", "a|b",
    "a?", "a*", "a\nb", "a\x00b", "a\x1fb", "\ud800", "x" * 256, "é" * 128,
    *DEVICES, *(f"{name}.txt" for name in DEVICES), "con .tar.gz", "nul.",
]  # fmt: skip
ACCEPTED = [
    "a", ".hidden", "a b", "my-lora_v1.2", "Zażółć", "猫", "console", "com", "com10", "lpt",
    "nulls", "x" * 255, "é" * 127, "a.con", "_con", "a'b", "a(b)", "-", " a",
]  # fmt: skip
# Letters that names are made of, and those that make trouble.
tricky = st.text(st.sampled_from('aA1.- _:<>"|?*/\\\x00\x1f\ud800é猫$¹')) | st.text()
names = st.builds(str.__add__, st.sampled_from(["", *DEVICES]), tricky)


def is_allowed(name):
    """The rules of Windows and Linux, written another way than the code's."""
    stem = name.split(".")[0].rstrip(" ").casefold()
    devices = {"con", "prn", "aux", "nul", "conin$", "conout$"}
    devices |= {f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"}
    return (
        name != ""
        and name[-1:] not in {".", " "}
        and not any(ord(c) < 32 or c in '<>:"/\\|?*\x7f' or "\ud800" <= c <= "\udfff" for c in name)
        and stem not in devices
        and len(name.encode("utf-8", "replace")) <= 255
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_some_system_cannot_have_is_refused(name):
    assert "Choose another name" in explain_name(name)
    assert not is_allowed(name)


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_name_that_every_system_can_have_stays(name):
    assert explain_name(name) == ""
    assert change_name(name, "x") == name


@given(names)
def test_a_name_is_refused_exactly_where_the_rules_say(name):
    assert (explain_name(name) == "") == is_allowed(name)


@given(names, st.sampled_from(["lora", "image"]))
def test_a_changed_name_is_allowed_and_a_fit_one_unchanged(name, fallback):
    changed = change_name(name, fallback)
    assert is_allowed(changed)
    assert changed == name or not is_allowed(name)


@given(names)
def test_a_reason_is_one_printable_line(name):
    assert all(letter.isprintable() for letter in explain_name(name))


@given(names)
def test_a_run_and_a_dataset_get_only_names_that_every_system_can_have(tmp_path_factory, name):
    root = tmp_path_factory.mktemp("workspace")
    workspace = Workspace(root)
    try:
        create_run(workspace.runs_path, RunConfig(name=name))
    except (RunError, ValueError):
        assert list_runs(workspace.runs_path) == []
    try:
        workspace.create_dataset(name)
    except WorkspaceError:
        assert workspace.list_datasets() == []
    made = [*workspace.runs_path.glob("*"), *workspace.datasets_path.glob("*")]
    assert all(is_allowed(path.name) for path in made)
    assert all(is_allowed(f"{run.config.name}.safetensors") for run in list_runs(root / "runs"))


@given(names)
def test_uploads_and_suggestions_get_only_names_that_every_system_can_have(tmp_path_factory, name):
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    workspace.prepare()
    stem = _choose_stem(name, workspace.datasets_path)
    place = _find_place(workspace, Path("x") / f"{name.replace('/', '')}.safetensors")
    assert is_allowed(f"{stem}.png")
    assert is_allowed(place.name)


@pytest.mark.parametrize("name", ["con", "aux.v1", "nul.", "lpt1"])
def test_a_run_of_such_a_name_is_refused_with_a_sentence(tmp_path, name):
    with pytest.raises(RunError, match="cannot be the name of a file or folder"):
        create_run(tmp_path, RunConfig(name=name))


@pytest.mark.parametrize("name", ["con", "Aux.v1", "cats.", "com3"])
def test_a_dataset_of_such_a_name_is_refused_with_a_sentence(tmp_path, name):
    with pytest.raises(WorkspaceError, match="cannot be the name of a file or folder"):
        Workspace(tmp_path).create_dataset(name)


def test_a_run_that_exists_already_can_still_be_read(tmp_path):
    (tmp_path / "2026-01-01_0000_con").mkdir()
    config = tmp_path / "2026-01-01_0000_con" / "config.toml"
    config.write_text('name = "con"\n', encoding="utf-8")
    (run,) = list_runs(tmp_path)
    assert run.config.name == "con"


def test_a_path_is_limited_on_windows_alone(tmp_path):
    path = tmp_path / "a"
    beyond = 259 - len(str(path))
    assert explain_path(path, beyond, "win32") == ""
    assert "260 letters, and Windows allows 259" in explain_path(path, beyond + 1, "win32")
    assert explain_path(path, beyond + 1, "linux") == ""


def test_a_folder_that_is_there_may_have_any_name(tmp_path, free_names):
    (tmp_path / "a:b").mkdir()
    assert explain_path(tmp_path / "a:b" / "x.png") == ""


def test_folders_that_are_to_be_made_are_looked_at_too(tmp_path):
    assert "“con”" in explain_path(tmp_path / "con" / "x.png")
    assert "“x?.png”" in explain_path(tmp_path / "x?.png")
    assert explain_path(Path("../new")) == ""


def test_a_run_with_a_long_path_is_refused_on_windows(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.runs.folder.explain_path", lambda path, beyond: explain_path(
        path, beyond + 259, "win32"
    ))  # fmt: skip
    with pytest.raises(RunError, match="shorter path"):
        create_run(tmp_path, RunConfig(name="x"))


def test_a_download_is_named_so_that_every_system_can_have_it():
    assert parse_hub_id("owner/name@v1.").entry == "owner--name@v1"
    assert parse_hub_id("owner/name").entry == "owner--name"


@pytest.mark.parametrize("file", ["con.safetensors", "a?.safetensors", "folder./x.safetensors"])
def test_a_file_of_the_hub_with_such_a_name_is_refused(tmp_path, file):
    from trainer.hub import HubError
    from trainer.hub.download import download_base_model

    with pytest.raises(HubError, match="cannot be the name of a file or folder"):
        download_base_model(f"owner/name/{file}", tmp_path, "", lambda *_: None)


def write_lora(path):
    import torch
    from safetensors.torch import save_file

    save_file({"lora_unet_x.lora_up.weight": torch.zeros(1, 1)}, path)
    return path


@pytest.mark.parametrize("words", [
    ["resize", "{file}", "--to", "{out}", "--rank", "1"],
    ["scale", "{file}", "--to", "{out}", "--mid-block", "0.5"],
    ["grid", "{file}", "--to", "{out}", "--prompt", "x", "--base-model", "{file}"],
    ["bundle", "{file}", "--civitai", "{out}"],
    ["bundle", "{file}", "--hub", "{out}"],
    ["convert", "{file}", "--to", "diffusers", "--output", "{out}"],
    ["merge", "{file}", "{file}", "--to", "{out}"],
])  # fmt: skip
@pytest.mark.parametrize("name", ["con.safetensors", "a:b.safetensors"])
def test_no_command_writes_a_file_of_such_a_name(tmp_path, capsys, words, name):
    from app.cli import main

    file = write_lora(tmp_path / "in.safetensors")
    values = {"file": str(file), "out": str(tmp_path / name)}
    assert main([word.format_map(values) for word in words]) == 2
    assert f"“{name}” cannot be the name of a file or folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def test_a_suggested_name_is_never_that_of_a_device(tmp_path):
    from app.combine.recipes import Recipe

    workspace = Workspace(tmp_path)
    workspace.prepare()
    recipe = Recipe("merge", (("file:con.safetensors", 1.0),), {})
    assert suggest_name(workspace, recipe) == "lora-con"
