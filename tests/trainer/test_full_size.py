"""Full-size base models with random weights: loaded offline, trained two steps, exported whole."""

import json
import os
import resource
import subprocess
import sys

import pytest
import torch

from tests.trainer.conftest import ROOT, write_images
from tests.trainer.full_size import write_configs, write_random_checkpoint
from trainer.formats.header import read_header
from trainer.models import check_base_model
from trainer.models.loading import load_parts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
SETTINGS = (
    "dataset.resolution=128",
    "base_model.precision=bf16",
    "adapter.rank=4",
    "adapter.conv_rank=2",
    "adapter.text_rank=2",
    "train.steps=2",
    "train.batch_size=1",
    "train.gradient_checkpointing=true",
    "samples.every_steps=0",
)


def run_lorasmith(*arguments):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from app.cli import main; sys.exit(main())",
            *arguments,
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )


@pytest.mark.parametrize(("family", "modules"), [("sd15", 350), ("sd2", 416), ("sdxl", 1052)])
def test_a_full_size_single_file_trains_and_exports_every_layer(tmp_path, capsys, family, modules):
    base = tmp_path / f"{family}.safetensors"
    write_random_checkpoint(base, family, torch.float16)
    images = write_images(tmp_path / "images", [(128, 128)] * 2)
    settings = [part for each in SETTINGS for part in ("--set", each)]
    done = run_lorasmith(
        "train", "--workspace", str(tmp_path / "workspace"), "--name", "full",
        "--dataset", str(images), "--base-model", str(base), *settings,
    )  # fmt: skip
    base.unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (tmp_path / "workspace" / "runs").glob("*/full.safetensors")
    layers = {name.partition(".")[0] for name in read_header(file).tensors}
    assert len(layers) == modules
    events = [json.loads(line) for line in (file.parent / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert all(event["loss"] < 1e4 for event in steps)
    # The largest of all children so far: the families come in order of their size.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    with capsys.disabled():
        print(f"\n{family}: {modules} layers, peak memory of the training {peak:.1f} GB")
    assert peak < 24


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_a_full_size_single_file_equals_diffusers_conversion(tmp_path, family):
    path = tmp_path / f"{family}.safetensors"
    write_random_checkpoint(path, family, torch.float16)
    cls = write_configs(family, tmp_path / "config")
    theirs = cls.from_single_file(
        path, config=str(tmp_path / "config"), local_files_only=True, torch_dtype=torch.float16
    )
    ours = load_parts(check_base_model(path), torch.device("cpu"), torch.float16)
    path.unlink()
    pairs = [(ours.unet, theirs.unet), (ours.vae, theirs.vae)]
    pairs += [
        (mine, getattr(theirs, name))
        for mine, name in zip(ours.text_encoders, ("text_encoder", "text_encoder_2"), strict=False)
    ]
    for mine, other in pairs:
        expected = other.state_dict()
        found = mine.state_dict()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name].to(value.dtype), value), name
