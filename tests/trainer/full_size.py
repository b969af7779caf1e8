"""Checkpoints with random weights in the original single-file layout: full size, or small.

What differs is only the folder of configs that `trainer.models.shipped` reads: the package's own,
or the one that `write_small_configs` fills.
"""

import json
import math
from pathlib import Path

import torch

from trainer.dtypes import CODES
from trainer.formats.families import FAMILIES
from trainer.models import shipped
from trainer.models.detect import UNET_PREFIX
from trainer.models.layouts import NAMINGS
from trainer.models.loading import build_model


def list_stored(family):
    """Returns name → shape of every tensor in a family's checkpoints, in the original layout."""
    config = shipped.read_config(family)
    rows = [
        ("unet", config["unet"], UNET_PREFIX, "unet"),
        ("vae", config["vae"], "first_stage_model.", "vae"),
    ]
    for number, encoder in enumerate(config["text_encoders"]):
        spec = FAMILIES[family].text_encoders[number]
        if family == "sd2":  # files hold the last layer, which is never run
            encoder = encoder | {"num_hidden_layers": encoder["num_hidden_layers"] + 1}
        rows.append(
            (("text_encoder", "text_encoder_2")[number], encoder, spec.file_prefix, spec.naming)
        )
    stored = {}
    for part, settings, prefix, naming in rows:
        shapes = {k: tuple(v.shape) for k, v in build_model(part, settings).state_dict().items()}
        for target, source in NAMINGS[naming](shapes, settings).items():
            stored[prefix + source.names[0]] = source.stored_shapes(shapes[target])[0]
    return stored


def write_random_checkpoint(path, family, dtype=torch.float16, *, seed=0, without=()):
    """Writes a checkpoint with random weights, one tensor in memory at a time.

    Args:
        path: The file to write.
        family: "sd15", "sd2" or "sdxl".
        dtype: fp16, bf16 or fp32.
        seed: Of the weights.
        without: Prefixes of tensors that are left out.

    Returns:
        The path.
    """
    stored = {
        name: shape
        for name, shape in sorted(list_stored(family).items())
        if not name.startswith(tuple(without))
    }
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in stored.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": CODES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # One pool of normal numbers, read from a different place for every tensor: fast and random
    # enough for weights that only have to be of the right size.
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(1 << 20, generator=generator)
    with Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, shape in stored.items():
            offset = int(torch.randint(len(pool), (1,), generator=generator))
            tensor = _fill_tensor(name, shape, pool.roll(offset)).to(dtype)
            file.write(tensor.view(torch.uint8).numpy().data)
    return Path(path)


def _fill_tensor(name, shape, pool):
    """Returns flat weights of such a size that activations neither vanish nor overflow."""
    count = math.prod(shape)
    if "embedding" in name:
        deviation = 0.02
    elif len(shape) < 2:
        # Norms do nothing, biases are zero.
        is_norm = name.endswith(".weight")
        return torch.ones(count) if is_norm else torch.zeros(count)
    else:
        deviation = 0.5 / math.sqrt(math.prod(shape[1:]))
    return (pool * deviation).repeat(count // len(pool) + 1)[:count]


def write_small_configs(folder):
    """Writes configs of miniatures of the three families, with all that tells them apart."""
    folder.mkdir(parents=True, exist_ok=True)
    source = shipped.CONFIG_FOLDER
    (folder / "clip_merges.txt.gz").symlink_to(source / "clip_merges.txt.gz")
    clip = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    clip |= {"num_attention_heads": 2, "projection_dim": 32}
    # SD 2.x keeps its 23 layers: diffusers knows the last one of 24 by its number.
    wide = clip | {"hidden_size": 48, "projection_dim": 48, "num_hidden_layers": 23}
    second = clip | {"hidden_size": 40, "projection_dim": 40}
    unet = {"sample_size": 8, "norm_num_groups": 8, "block_out_channels": [8, 16, 16, 16]}
    small = {
        "sd15": ({"cross_attention_dim": 32, "attention_head_dim": 2}, [clip]),
        "sd2": ({"cross_attention_dim": 48, "attention_head_dim": [1, 2, 2, 2]}, [wide]),
        "sdxl": (
            {
                "cross_attention_dim": 72,
                "attention_head_dim": [1, 2, 2],
                "block_out_channels": [8, 16, 16],
                "transformer_layers_per_block": [1, 1, 2],
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 6 * 8 + 40,
            },
            [clip, second],
        ),
    }
    for family, (own, encoders) in small.items():
        config = json.loads((source / f"{family}.json").read_text())
        config.pop("sample_sizes", None)
        config["unet"] |= unet | own
        config["vae"] |= {"block_out_channels": [4, 8, 8, 8], "norm_num_groups": 4}
        config["text_encoders"] = [
            theirs | ours for theirs, ours in zip(config["text_encoders"], encoders, strict=True)
        ]
        (folder / f"{family}.json").write_text(json.dumps(config))
    return folder


def write_configs(family, folder):
    """Writes a family's configs in the diffusers layout, without weights; returns its pipeline."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    config = shipped.read_config(family)
    encoders = zip(("text_encoder", "text_encoder_2"), config["text_encoders"], strict=False)
    configs = {"unet": config["unet"], "vae": config["vae"], **dict(encoders)}
    parts = {name: build_model(name, each) for name, each in configs.items()}
    for name, model in parts.items():
        save = getattr(model, "save_config", None) or model.config.save_pretrained
        (folder / name).mkdir(parents=True)
        save(folder / name)
    for name, pad in zip(("tokenizer", "tokenizer_2"), config["pad_tokens"], strict=False):
        parts[name] = shipped.build_tokenizer(pad)
        parts[name].save_pretrained(folder / name)
    parts["scheduler"] = DDIMScheduler.from_config(config["scheduler"])
    parts["scheduler"].save_pretrained(folder / "scheduler")
    if family == "sdxl":
        pipeline = StableDiffusionXLPipeline(**parts)
    else:
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipeline.save_config(folder)
    return type(pipeline)
