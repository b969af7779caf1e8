"""What a file's header counts, as kohya's trainer means it, worked out by hand."""

import json

import pytest
import torch

from trainer.config import AdapterConfig, layer_config
from trainer.export import ExportFacts, make_metadata, measure_network

# 5 images of one size and 2 of another, in batches of 2: 3 + 1 batches show them all.
BUCKETS = {(512, 512): 5, (640, 448): 2}


def describe(settings, **changes):
    values = {
        "family": "sd15",
        "prediction": "epsilon",
        "base_model_name": "base",
        "captions": ["an image"] * 7,
        "resolution": 512,
        "buckets": BUCKETS,
        "step": 50,
        "started": 1_700_000_000.0,
        "class_images": 11,
    }
    return make_metadata(layer_config(settings=settings), ExportFacts(**{**values, **changes}))


def test_counts_of_a_run():
    settings = {
        "name": "cat",
        "train": {"steps": 100, "batch_size": 2, "accumulate": 3, "seed": 9},
        "adapter": {"rank": 12, "alpha": 6.0, "conv_rank": 4, "conv_alpha": 2.0},
        "optimizer": {"warmup_steps": 8},
        "base_model": {"max_windows": 2},
    }
    found = describe(settings)
    expected = {
        "ss_num_train_images": 7,
        "ss_num_reg_images": 11,
        "ss_num_batches_per_epoch": 4,
        "ss_gradient_accumulation_steps": 3,
        "ss_batch_size_per_device": 2,
        "ss_total_batch_size": 6,
        "ss_max_train_steps": 100,
        "ss_steps": 50,
        "ss_num_epochs": 75,  # 100 updates of 3 batches, 4 batches an epoch
        "ss_epoch": 38,  # 50 updates: 37.5 epochs, so the 38th has begun
        "ss_lr_warmup_steps": 8,
        "ss_seed": 9,
        "ss_min_bucket_reso": 448,
        "ss_max_bucket_reso": 640,
        "ss_max_token_length": 150,
        "ss_network_dim": 12,
    }
    assert {key: found[key] for key in expected} == {k: str(v) for k, v in expected.items()}
    assert found["ss_network_alpha"] == "6.0"
    assert json.loads(found["ss_network_args"]) == {"conv_dim": "4", "conv_alpha": "2.0"}
    assert found["ss_resolution"] == "(512, 512)"
    buckets = json.loads(found["ss_bucket_info"])["buckets"].values()
    assert [(row["resolution"], row["count"]) for row in buckets] == [
        ([512, 512], 5),
        ([640, 448], 2),
    ]
    assert json.loads(found["ss_dataset_dirs"])["cat"] == {"n_repeats": 1, "img_count": 7}


@pytest.mark.parametrize(
    ("steps", "batch_size", "accumulate", "epochs"),
    # 6 images of one size and 1 of another: 7, 3 + 1, 2 + 1 or 1 + 1 batches in an epoch.
    [(14, 1, 1, 2), (14, 1, 4, 8), (9, 2, 1, 3), (9, 3, 2, 6), (9, 8, 2, 9)],
)
def test_epochs_count_batches_and_not_updates(steps, batch_size, accumulate, epochs):
    train = {"steps": steps, "batch_size": batch_size, "accumulate": accumulate}
    found = describe({"train": train}, step=steps, buckets={(512, 512): 6, (640, 448): 1})
    assert found["ss_num_epochs"] == found["ss_epoch"] == str(epochs)


def test_rank_and_alpha_are_those_of_most_layers():
    def layer(rank, scale, kernel=1):
        return torch.zeros(rank, 6, kernel, kernel), torch.zeros(8, rank, 1, 1), scale

    modules = {
        "unet.a": layer(4, 0.5),
        "unet.b": layer(4, 0.5),
        "unet.c": layer(16, 0.5),
        "unet.d": layer(3, 0.25, kernel=3),
        "text_encoder.a": layer(9, 1.0),
    }
    found = measure_network(modules, {"lora"}, AdapterConfig())
    # A file's alpha is what its change is multiplied by, times the rank.
    assert (found.rank, found.alpha, found.conv_rank, found.conv_alpha) == (4, 2.0, 3, 0.75)
