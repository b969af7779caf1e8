"""Names from a browser never become paths."""

import pytest

from app.core.workspace import WorkspaceError

HOSTILE = [
    "../runs", "..", ".", "", "/etc", "a/b", "a\\b", "C:cats", "nul", "com1.txt", ".hidden",
    "a\0b", "$(touch x)", "x" * 65, "a..b", "-rf", None, 7, ["cats"],
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_is_refused_for_a_new_dataset(workspace, name):
    with pytest.raises(WorkspaceError):
        workspace.create_dataset(name if isinstance(name, str) else "/" + str(name))
    assert workspace.list_datasets() == []
    assert list(workspace.datasets_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_finds_no_dataset_no_run_and_no_model(workspace, dataset, run, name):
    for find in (workspace.find_dataset, workspace.find_run, workspace.find_base_model):
        with pytest.raises(WorkspaceError):
            find(name)


def test_spaces_in_a_new_name_become_dashes(workspace):
    assert workspace.create_dataset("  my   cat ") == "my-cat"
    assert workspace.list_datasets() == ["my-cat"]


def test_a_taken_name_is_refused_in_words(workspace, dataset):
    with pytest.raises(WorkspaceError, match="already a dataset “cats”"):
        workspace.create_dataset("cats")


def test_a_link_out_of_the_workspace_is_no_dataset(workspace, tmp_path):
    outside = tmp_path / "private"
    outside.mkdir()
    (workspace.datasets_path / "link").symlink_to(outside)
    assert workspace.list_datasets() == []


def test_base_models_are_those_given_and_those_in_the_models_folder(workspace):
    for name, whole in (("real", True), ("half", False)):
        folder = workspace.models_path / name
        folder.mkdir()
        if whole:
            (folder / "model_index.json").write_text("{}")
    assert list(workspace.list_base_models()) == ["starter-model", "real"]
