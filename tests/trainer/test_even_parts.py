"""Short runs of every kind export in fp16, and a refused file never has an export's name."""

import pytest
import torch

from trainer.adapters import restore_adapter
from trainer.commands import train
from trainer.export import ExportError
from trainer.export.files import even_out_parts
from trainer.runs import read_events
from trainer.training import artifacts

CPU = torch.device("cpu")


def make_parts(kind, small):
    """Returns the parts of a layer of 12 by 8, one of which is as small as after few steps."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    alpha = torch.tensor(2.0)
    parts = {
        "loha": {"hada_w1_a": random(12, 4), "hada_w1_b": random(4, 8),
                 "hada_w2_a": random(12, 4) * small, "hada_w2_b": random(4, 8)},
        "lokr": {"lokr_w1": random(3, 2), "lokr_w2_a": random(4, 1),
                 "lokr_w2_b": random(1, 4) * small},
        "lokr whole": {"lokr_w1": random(3, 2), "lokr_w2": random(4, 4) * small},
        "dora": {"lora_down.weight": random(4, 8), "lora_up.weight": random(12, 4) * small,
                 "dora_scale": random(1, 8).abs()},
    }[kind]  # fmt: skip
    return {**parts, "alpha": alpha}


@pytest.mark.parametrize("small", [1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("kind", ["loha", "lokr", "lokr whole", "dora"])
def test_factors_are_evened_out_and_their_product_stays(kind, small):
    parts = make_parts(kind, small)
    layer = torch.nn.Linear(8, 12)
    before = restore_adapter(layer, parts, 2.0).delta()
    even = even_out_parts(parts, "fp16")
    after = restore_adapter(layer, even, 2.0).delta()
    # DoRA's difference is one of whole weights, which fp32 rounds.
    allowed = 1e-5 if kind == "dora" else 0
    assert (after - before).norm() <= allowed * layer.weight.norm()
    assert torch.equal(even["alpha"], parts["alpha"])
    if kind == "dora":
        assert torch.equal(even["dora_scale"], parts["dora_scale"])
    factors = [value for name, value in even.items() if name not in {"alpha", "dora_scale"}]
    assert min(value.abs().max() for value in factors) > 100 * small
    rounded = {name: value.half().float() for name, value in even.items()}
    error = restore_adapter(layer, rounded, 2.0).delta() - after
    if kind != "dora":
        assert error.norm() < 5e-3 * after.norm()
    assert all(
        torch.equal(value, parts[name]) for name, value in even_out_parts(parts, "fp32").items()
    )


def test_factors_that_fp16_can_hold_stay_as_they_are():
    parts = make_parts("loha", 1.0)
    assert all(
        torch.equal(value, parts[name]) for name, value in even_out_parts(parts, "fp16").items()
    )
    zero = {**parts, "hada_w2_a": torch.zeros(12, 4)}
    assert all(
        torch.equal(value, zero[name]) for name, value in even_out_parts(zero, "fp16").items()
    )


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr"])
def test_short_run_of_every_kind_exports_in_fp16(make_run, cache, kind):
    rates = [f"optimizer.{part}_learning_rate=1.0" for part in ("unet", "conv", "text")]
    run = make_run(
        f"adapter.kind={kind}", "optimizer.kind=prodigy", *rates, "train.batch_size=1",
        "output.precision=fp16", "train.steps=4",
    )  # fmt: skip
    assert train(run, cache) == "finished"
    (event,) = [each for each in read_events(run.events_path) if each["event"] == "exported"]
    assert event["max_relative_error"] < 2e-3
    assert [path.name for path in run.list_exports()] == ["pico.safetensors"]


def test_refused_file_does_not_get_the_name_of_an_export(make_run, cache, monkeypatch):
    run = make_run("train.steps=2")
    real = artifacts.write_kohya

    def write_wrong(path, modules, *rest):
        layer, (down, up, scale) = next(iter(modules.items()))
        return real(path, {**modules, layer: (down, up + 1, scale)}, *rest)

    monkeypatch.setattr(artifacts, "write_kohya", write_wrong)
    with pytest.raises(ExportError, match=r"pico.safetensors does not hold .*output\.precision"):
        train(run, cache)
    assert run.list_exports() == []
    assert not list(run.path.glob("**/*.safetensors")) or all(
        "checkpoints" in path.parts for path in run.path.glob("**/*.safetensors")
    )
    # An export that was there before stays when a later one is refused.
    monkeypatch.setattr(artifacts, "write_kohya", real)
    assert train(run, cache) == "finished"
    (file,) = run.list_exports()
    content = file.read_bytes()
    (run.config_path).write_text(run.config_path.read_text().replace("steps = 2\n", "steps = 3\n"))
    monkeypatch.setattr(artifacts, "write_kohya", write_wrong)
    with pytest.raises(ExportError):
        train(run, cache)
    assert file.read_bytes() == content
