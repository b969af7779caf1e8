"""Files of tensors are closed once they are read, so that they can be replaced and removed."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from datasets_tools import files
from tests.trainer.conftest import asking
from tests.trainer.random_adapters import write_adapter
from tests.windows.environment import needs_linux
from trainer.combine import MergeRequest, merge_files, resize_file, scale_file, stream
from trainer.combine.convert import convert_file
from trainer.commands import train
from trainer.config import BaseModelConfig, MergeOptions, RankChoice
from trainer.export.embedding import read_embedding, write_embedding
from trainer.export.names import recognise_layers
from trainer.files.read import read_adapter_file
from trainer.files.read.keys import group_keys
from trainer.formats.families import FAMILIES
from trainer.formats.header import read_header
from trainer.inference.preview_generator import PreviewGenerator
from trainer.runs import AdapterChoice, PreviewRequest
from trainer.tensor_file import load_tensors
from trainer.training import checkpoint

pytestmark = needs_linux


def is_open(path):
    """Returns whether this process has a file, or one in a folder, open or mapped."""
    name = os.path.realpath(path)
    opened = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    maps = Path("/proc/self/maps").read_text().splitlines()
    opened += [line[line.index("/") :] for line in maps if "/" in line]
    return any(each == name or each.startswith(f"{name}/") for each in opened)


@pytest.fixture
def adapter(tmp_path, pico):
    path = tmp_path / "x.safetensors"
    write_adapter(path, pico)
    return path


def test_the_library_keeps_a_file_open_and_a_copy_does_not(adapter):
    mapped = load_file(adapter)
    assert is_open(adapter)
    copied = load_tensors(adapter)
    assert copied.keys() == mapped.keys()
    assert all(torch.equal(copied[name], value) for name, value in mapped.items())
    del mapped
    assert not is_open(adapter)


def test_weights_that_were_read_leave_the_file_alone(adapter):
    names = FAMILIES["sd15"].unet.names
    spellings, _ = group_keys(read_header(adapter).tensors)
    layers = recognise_layers(spellings, names).values()
    file = read_adapter_file(adapter, layers, names)
    assert file.modules
    assert not is_open(adapter)


def test_embeddings_that_were_read_leave_the_file_alone(tmp_path):
    path = write_embedding(tmp_path / "x.safetensors", "zorp", [torch.ones(2, 8)], {})
    vectors = read_embedding(path)
    assert vectors[0].shape == (2, 8)
    assert not is_open(path)


IN_PLACE = {
    "resize": lambda path: resize_file(path, path, RankChoice(rank=1), force=True),
    "scale": lambda path: scale_file(path, path, [("*", 0.5)], force=True),
    "convert": lambda path: convert_file(path, "comfyui", path, force=True),
    "merge": lambda path: merge_files(
        MergeRequest([(path, 0.5), (path, 0.5)], path, MergeOptions(), force=True)
    ),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_file_is_closed_before_its_own_result_replaces_it(adapter, monkeypatch, name):
    before, replaced = adapter.read_bytes(), []

    def check(source, target):
        assert not is_open(target)
        replaced.append(target)
        source.replace(target)

    for module in (files, stream):
        monkeypatch.setattr(module, "replace_file", check)
    IN_PLACE[name](adapter)
    assert adapter in replaced
    assert adapter.read_bytes() != before
    assert list(adapter.parent.glob("*.safetensors")) == [adapter]
    assert not [each for each in adapter.parent.iterdir() if each.name.startswith(".")]


def test_the_preview_worker_holds_neither_adapters_nor_the_base_model(adapter, pico, tmp_path):
    generator = PreviewGenerator(tmp_path)
    images = generator.generate(
        PreviewRequest(
            base_model=BaseModelConfig(path=str(pico)),
            prompt="a blob",
            inference_steps=1,
            width=32,
            height=32,
            adapters=(AdapterChoice(path=str(adapter), weight=1.0),),
        )
    )
    assert len(list(images)) == 2
    assert not is_open(adapter)
    assert not is_open(pico)


def test_a_resumed_run_does_not_hold_the_checkpoint_it_came_from(make_run, cache, monkeypatch):
    run = make_run("output.keep_checkpoints=1", "optimizer.ema_decay=0.9")
    with asking(run, {2: ["stop"]}):
        train(run, cache)
    first = run.list_checkpoints()[0].path
    removed, remove = {}, checkpoint.remove_quietly

    def check(path):
        removed[path] = is_open(path)
        remove(path)

    monkeypatch.setattr(checkpoint, "remove_quietly", check)
    train(run, cache)
    assert removed[first] is False
    assert [each.step for each in run.list_checkpoints()] == [4]


def test_an_old_checkpoint_that_is_held_is_no_checkpoint_any_more(make_run, cache, monkeypatch):
    monkeypatch.setattr(checkpoint, "remove_quietly", lambda _path: None)
    run = make_run("output.keep_checkpoints=1")
    train(run, cache)
    assert [each.step for each in run.list_checkpoints()] == [4]
    assert (run.checkpoints_path / "step-000002" / "adapter.safetensors").is_file()
