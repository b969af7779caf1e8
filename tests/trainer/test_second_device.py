"""A run on a device beside the CPU: nothing is mixed, nothing waits, and the file is the same."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.trainer.conftest import ROOT, write_images
from trainer.models import prompts

# Rounding differs between ways to compute the same; Adam's first updates enlarge it.
TOLERANCE = 5e-3
FEW = {
    "text encoder and samples": ("samples.every_steps=2",),
}
MANY = {
    "dora, frozen text encoder, accumulated": (
        "adapter.kind=dora", "adapter.text_rank=0", "train.accumulate=2",
    ),
    **{kind: (f"adapter.kind={kind}",) for kind in ("loha", "lokr", "vera", "adalora")},
    **{kind: (f"optimizer.kind={kind}",) for kind in ("adafactor", "lion")},
    "prodigy": ("optimizer.kind=prodigy", *(f"optimizer.{part}_learning_rate=1"
                for part in ("unet", "conv", "text", "word"))),
    "schedule_free": ("optimizer.kind=schedule_free", "optimizer.schedule=constant"),
    "micro batch": ("train.batch_size=4", "train.micro_batch=1"),
    "embedding": ("adapter.word_vectors=2", "adapter.text_rank=0"),
    "teacher": ("objective.prior=teacher", "dataset.class_word=blob"),
    "class images": ("objective.prior=images", "dataset.prior_path={images}"),
    "models wait in main memory": ("train.offload=true", "samples.every_steps=2"),
    "blocks wait in main memory": ("base_model.offload_fraction=1.0",),
    "checkpointing": ("train.gradient_checkpointing=true",),
    "recomputation": ("train.recompute=feed_forward",),
    "fp8": ("base_model.quantize=fp8",),
    "int8": ("base_model.quantize=int8",),
    "noise": (
        "objective.noise_offset=0.1", "objective.pyramid_noise=0.3",
        "objective.input_perturbation=0.1", "objective.timesteps=logit_normal",
    ),
    "huber by snr": (
        "objective.loss=huber", "objective.huber_schedule=snr", "objective.weighting=soft_min_snr",
    ),
    "debiased": (
        "objective.weighting=debiased", "objective.loss=smooth_l1",
        "objective.huber_schedule=exponential",
    ),
    "masks": ("dataset.masks=alpha",),
    "average": ("optimizer.ema_decay=0.9",),
    "v with zero snr": ("base_model.prediction=v_prediction", "base_model.zero_snr=on"),
    "flow": ("base_model.prediction=flow",),
    "LoRA+": ("optimizer.lora_plus_ratio=4",),
    "varied captions": ("dataset.shuffle_tags=true", "dataset.tag_dropout=0.5"),
}  # fmt: skip
# A caption that varies is new to the device, and blocks that wait are what is copied.
# Prodigy's library reads its estimates for each weight, so a GPU is waited for.
_TRAFFIC = {
    "prodigy": {"read, trainer/training/step.py: _update"},
    "varied captions": {"to the device, trainer/models/prompts.py: place"},
    "blocks wait in main memory": {"to the device, trainer/models/block_offload.py: _fetch"},
}


def train(settings, pico, folder):
    """Trains every set of settings on both devices, in a process of its own."""
    images = write_images(folder / "images", [(32, 32)] * 4 + [(48, 24)] * 2)
    settings = {
        name: [each.format(images=images) for each in row] for name, row in settings.items()
    }
    request, report = folder / "request.json", folder / "report.json"
    asked = {"settings": settings, "base_model": str(pico), "images": str(images)}
    request.write_text(json.dumps(asked))
    subprocess.run(
        [sys.executable, "-m", "tests.trainer.second_device", str(request), str(report)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True,
    )  # fmt: skip
    return json.loads(report.read_text())


def check(name, row):
    assert "error" not in row, row["trace"]
    assert row["distance"] < TOLERANCE
    # A step in the middle of a run copies nothing and reads nothing, so no GPU would be waited for.
    assert set(row["traffic"]) <= _TRAFFIC.get(name, set()), row["traffic"]


def test_chunks_of_captions_that_vary_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(prompts, "_MOST_CHUNKS", 3)
    store = prompts.ChunkStore(torch.device("cpu"))
    for start in range(20):
        chunks = [[start, 1], [start + 1, 2], [start, 1]]
        assert store.place(chunks).tolist() == chunks
        assert len(store._rows) <= 3
    assert store.place([[n, n] for n in range(5)]).tolist() == [[n, n] for n in range(5)]


@pytest.fixture(scope="module")
def few(pico, tmp_path_factory):
    return train(FEW, pico, tmp_path_factory.mktemp("few"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_a_run_on_another_device_gives_the_same_file_and_waits_for_nothing(few, name):
    check(name, few[name])


@pytest.fixture(scope="module")
def many(pico, tmp_path_factory):
    return train(MANY, pico, tmp_path_factory.mktemp("many"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", MANY)
def test_every_setting_trains_on_another_device(many, name):
    check(name, many[name])
