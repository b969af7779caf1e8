"""The memory of full-size models on a CUDA device, estimated from their configs alone.

    python benchmarks/memory.py --full-size

A table in docs/memory.md: a row per family, size, batch and way to store the UNet, with the peak of
each phase and what must be free. Nothing is measured; the page shows the error of estimates.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "memory-full-size.json"
START, END = "<!-- full-size table -->", "<!-- end of the full-size table -->"
_PROMPTS = 'samples.prompts=["a house"]'
_ATTACHED = ("adapter.rank=16", "adapter.text_rank=0", "dataset.shuffle_tags=false", _PROMPTS)
_CHECKPOINTING = "train.gradient_checkpointing=true"
_RECOMPUTE = "train.recompute=feed_forward"
_OFFLOAD = "base_model.offload_fraction=1.0"

# Family and side in pixels, and the batches.
CASES: tuple[tuple[str, int, Sequence[int]], ...] = (
    ("sd15", 512, (1, 4)),
    ("sd2", 768, (1,)),
    ("sdxl", 768, (1,)),
    ("sdxl", 1024, (1, 4)),
)
PLANS: dict[str, tuple[str, ...]] = {
    "16 bits": (),
    "16 bits, recompute": (_RECOMPUTE,),
    "16 bits, checkpointing": (_CHECKPOINTING,),
    "16 bits, offloaded blocks": (_OFFLOAD, _CHECKPOINTING),
    "fp8, recompute": ("base_model.quantize=fp8", _RECOMPUTE),
    "fp8, checkpointing": ("base_model.quantize=fp8", _CHECKPOINTING),
    "4 bits, checkpointing": ("base_model.quantize=nf4", _CHECKPOINTING),
}


def make_info(family: str, prediction: str = "epsilon") -> Any:
    """Returns a full-size base model of a family, without a file: of its configs alone."""
    from trainer.models import BaseModelInfo
    from trainer.models.parts import Part
    from trainer.models.shipped import read_config

    config = read_config(family)
    encoders = zip(("text_encoder", "text_encoder_2"), config["text_encoders"], strict=False)
    configs = {"unet": config["unet"], "vae": config["vae"], **dict(encoders)}
    parts = {name: Part(each, ()) for name, each in configs.items()}
    zero_snr = prediction == "v_prediction"
    return BaseModelInfo(
        Path(), "file", family, prediction, zero_snr, config["scheduler"], parts,
        tuple(config["pad_tokens"]),
    )  # fmt: skip


def estimate_full_size(family: str, config: Any) -> Any:
    """Returns the estimate of a run on a full-size base model, in bf16 on a CUDA device."""
    from trainer.memory.estimate import Estimate
    from trainer.memory.fake_accelerator import Device
    from trainer.memory.simulation import simulate

    device = Device("cuda", "bf16")
    run = simulate(make_info(family), config, (), device)
    sizes = (run.base_model_bytes, run.adapter_bytes, run.optimizer_bytes, run.resolution)
    return Estimate(config, Path(), device, run.phases, *sizes, ())


def list_rows() -> Iterator[dict[str, Any]]:
    """Yields the table's rows, in bytes, one estimate after the other."""
    from trainer.config import layer_config

    for family, side, batches in CASES:
        for batch in batches:
            for plan, assignments in PLANS.items():
                words = (f"dataset.resolution={side}", f"train.batch_size={batch}")
                config = layer_config(assignments=[*_ATTACHED, *words, *assignments])
                estimate = estimate_full_size(family, config)
                phases = {phase.name: phase.peak_bytes for phase in estimate.phases}
                yield {
                    "family": family, "side": side, "batch": batch, "plan": plan,
                    "phases": phases, "total": estimate.total_bytes,
                }  # fmt: skip


def render_table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the marked part of docs/memory.md, in GB."""
    phases = list(rows[0]["phases"])
    lines = [
        "| base model | pixels | batch | stored in | " + " | ".join(phases) + " | must be free |",
        "|---" * (5 + len(phases)) + "|",
    ]
    for row in rows:
        peaks = " | ".join(f"{row['phases'][name] / 1e9:.1f}" for name in phases)
        where = f"{row['family']} | {row['side']} | {row['batch']} | {row['plan']}"
        lines.append(f"| {where} | {peaks} | **{row['total'] / 1e9:.1f}** |")
    return "\n".join(lines)


def write_full_size(page: Path) -> None:
    """Estimates every row, keeps them, and writes the table into the page."""
    from benchmarks.measured_pages import write_between

    rows = []
    for row in list_rows():
        rows.append(row)
        names = [str(row[name]) for name in ("family", "side", "batch", "plan")]
        print(" ".join(names), f"{row['total'] / 1e9:.2f} GB", flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    write_between(page, (START, END), render_table(rows))
