"""The table of devices, with a Mac's GPU simulated: none is here."""

from types import SimpleNamespace

import psutil
import pytest
import torch

from trainer.commands.checks import check_before_start, check_run
from trainer.commands.memory import estimate_run, read_device_bytes
from trainer.config import ConfigError, layer_config
from trainer.device import open_device_context
from trainer.device_kinds import DEVICE_KINDS, check_device_settings, find_kind
from trainer.memory import read_free_bytes
from trainer.memory.estimate import choose_device
from trainer.memory.fake_accelerator import Device
from trainer.runs import RunError

GB = 10**9


@pytest.fixture
def mac(monkeypatch):
    """A Mac with 16 GB, of which its GPU may take 11; returns what a test may change."""
    facts = SimpleNamespace(macos=14, allowed=11 * GB, taken=2 * GB, free=12 * GB)
    backend, memory = torch.backends.mps, torch.mps
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(backend, "is_available", lambda: True)
    monkeypatch.setattr(backend, "is_macos_or_newer", lambda major, _minor: facts.macos >= major)
    monkeypatch.setattr(memory, "recommended_max_memory", lambda: facts.allowed)
    monkeypatch.setattr(memory, "driver_allocated_memory", lambda: facts.taken)
    available = lambda: SimpleNamespace(total=16 * GB, available=facts.free)  # noqa: E731
    monkeypatch.setattr(psutil, "virtual_memory", available)
    return facts


@pytest.mark.parametrize(
    ("cuda", "mps", "kind"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_first_kind_that_is_here(monkeypatch, cuda, mps, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_kind("auto") == kind
    assert choose_device(layer_config(settings={})).kind == kind


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_name_has_its_kind(name):
    assert find_kind(name) == name.split(":")[0]


@pytest.mark.parametrize(
    ("kind", "precision", "macos", "part"),
    [
        ("mps", "bf16", 14, ""),
        ("mps", "bf16", 13, "from macOS 14 on"),
        ("mps", "fp16", 13, ""),
        ("mps", "fp32", 13, ""),
        ("cpu", "bf16", 14, ""),
        ("cpu", "fp16", 14, "A CPU cannot train in fp16"),
    ],
)
def test_number_formats_of_a_kind(mac, kind, precision, macos, part):
    mac.macos = macos
    problem = DEVICE_KINDS[kind].explain_precision(precision)
    assert part in problem
    assert bool(problem) == bool(part)


def test_a_mac_takes_fp32_by_itself(mac):
    assert choose_device(layer_config(settings={})) == Device("mps", "fp32")


def test_an_old_macos_is_told_before_anything_is_loaded(mac):
    mac.macos = 13
    with pytest.raises(RunError, match="Update macOS, or set"):
        open_device_context("mps", "bf16")


UNSUPPORTED = [
    ({"base_model": {"quantize": "nf4"}}, "base_model.quantize: nf4 needs bitsandbytes"),
    ({"base_model": {"attention": "xformers"}}, "base_model.attention: xformers needs a CUDA GPU"),
    ({"optimizer": {"kind": "adamw8bit"}}, "optimizer.kind: adamw8bit needs bitsandbytes"),
]


@pytest.mark.parametrize(("changes", "part"), UNSUPPORTED)
def test_what_a_mac_does_not_have_is_refused_with_a_remedy(mac, changes, part):
    with pytest.raises(ConfigError, match=part):
        check_device_settings(layer_config(settings=changes))
    check_device_settings(layer_config(settings={**changes, "train": {"device": "cpu"}}))


@pytest.mark.parametrize(("changes", "part"), UNSUPPORTED)
def test_every_way_to_start_refuses_it_before_the_model_is_read(mac, tmp_path, changes, part):
    base = {"path": str(tmp_path / "nothing"), **changes.get("base_model", {})}
    config = layer_config(settings={**changes, "base_model": base})
    with pytest.raises(ConfigError, match=part):
        check_run(config, tmp_path, ())
    with pytest.raises(ConfigError, match=part):
        check_before_start(config, tmp_path)
    with pytest.raises(ConfigError, match=part):
        estimate_run(config, tmp_path)


def test_all_problems_are_reported_at_once(mac):
    settings = {"base_model": {"quantize": "nf4"}, "optimizer": {"kind": "adamw8bit"}}
    with pytest.raises(ConfigError, match="2 settings are wrong"):
        check_device_settings(layer_config(settings=settings))


@pytest.mark.parametrize(("free", "expected"), [(12, 9), (5, 5), (9, 9)])
def test_free_memory_of_a_mac_is_what_is_left_of_the_pool(mac, free, expected):
    mac.free = free * GB
    config = layer_config(settings={})
    assert read_free_bytes(config, Device("mps", "fp32")) == expected * GB
    assert read_device_bytes() == 11 * GB


def test_more_than_allowed_leaves_nothing(mac):
    mac.taken = 12 * GB
    assert read_free_bytes(layer_config(settings={}), Device("mps", "fp32")) == 0


def test_offloading_frees_nothing_where_the_memory_is_shared():
    shared = {kind: Device(kind, "fp32").shares_memory for kind in DEVICE_KINDS}
    assert shared == {"cuda": False, "mps": True, "cpu": True}


def test_the_estimate_for_a_mac_offers_only_what_it_has(pico, tmp_path):
    # What every device offers is chosen already.
    settings = {
        "base_model": {"path": str(pico)},
        "dataset": {"resolution": 32},
        "adapter": {"text_rank": 0},
        "train": {"gradient_checkpointing": True, "batch_size": 1},
        "samples": {"every_steps": 0},
    }
    config = layer_config(settings=settings)
    report = estimate_run(config, tmp_path, "mps", free_bytes=1)
    offered = {text for change in report.changes for text in change.assignments}
    assert "base_model.precision=bf16" in offered
    assert not {"base_model.quantize=nf4", "train.offload=true"} & offered
