"""How fast is a training step, against a plain diffusers and PEFT loop on the same work?

    python benchmarks/speed.py [--steps N] [--rounds N] [--results FILE]

Both train the same layers of the starter model at the same ranks on the same cached latents, at the
same batch size, with AdamW and gradient clipping, in fp32 on the CPU or in the device's own
precision. They take turns in one process, so that a drift of the machine's speed meets both; what
counts is the ratio of a round's two times.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - needs the settings above
from torch.nn import functional  # noqa: E402

from trainer.commands import quiet_model_libraries  # noqa: E402
from trainer.config import layer_config  # noqa: E402
from trainer.runs import RunFolder, create_run  # noqa: E402
from trainer.training.loop import read_batches  # noqa: E402
from trainer.training.session import Session, open_session  # noqa: E402
from trainer.training.step import take_step  # noqa: E402

STARTER_MODEL = ROOT / "examples" / "starter-model"
DATASET = ROOT / "examples" / "openmoji-style" / "images"
RESULTS = ROOT / "benchmarks" / "results" / "speed-{device}.json"
RANK, BATCH = 16, 8


def main() -> None:
    """Times both loops in turns and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10, help="steps of each loop in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    quiet_model_libraries()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder))
        session = open_session(run, Path(folder) / "cache")
        loops = {"ours": prepare_ours(session), "peft": prepare_peft(session)}
        for step in loops.values():  # warm up
            step(), step()
        rounds = [
            {name: measure(step, args.steps, session) for name, step in loops.items()}
            for _ in range(args.rounds)
        ]
        write_results(rounds, session, args)


def make_run(folder: Path) -> RunFolder:
    """Returns a run with one rank everywhere, as PEFT's config can express it."""
    settings: dict[str, Any] = {
        "base_model": {"path": str(STARTER_MODEL)},
        "dataset": {"path": str(DATASET)},
        "adapter": {
            f"{part}{what}": value
            for part in ("", "conv_", "text_")
            for what, value in (("rank", RANK), ("alpha", float(RANK)))
        },
        "train": {"batch_size": BATCH, "steps": 100_000},
        "objective": {"weighting": "none"},
        "optimizer": {"schedule": "constant"},
        "samples": {"every_steps": 0},
    }
    return create_run(folder / "runs", layer_config(settings=settings))


def prepare_ours(session: Session) -> Callable[[], Any]:
    """Returns a function that does one step of our loop."""
    session.adapters.train(mode=True)
    batches = read_batches(session)
    return lambda: take_step(session, batches)


def prepare_peft(session: Session) -> Callable[[], Any]:
    """Returns a function that does one step as diffusers' examples do it, on models of its own."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from peft import LoraConfig
    from transformers import CLIPTextModel

    device, dtype = session.context.device, session.context.dtype
    unet = UNet2DConditionModel.from_pretrained(STARTER_MODEL / "unet", torch_dtype=dtype)
    text = CLIPTextModel.from_pretrained(STARTER_MODEL / "text_encoder", dtype=dtype)
    parameters = []
    for prefix, model in (("unet", unet), ("text_encoder", text)):
        model.requires_grad_(requires_grad=False).to(device)
        own = {name.replace(".text_model", "") for name in session.adapters.adapters}
        names = [
            name
            for name, _ in model.named_modules()
            if f"{prefix}.{name.removeprefix('text_model.')}" in own
        ]
        model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names))
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.data = parameter.data.float()
        parameters += trained
    ours = session.adapters.named_parameters().values()
    if sum(p.numel() for p in parameters) != sum(p.numel() for p in ours):
        msg = "the two loops do not train the same weights"
        raise RuntimeError(msg)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    scheduler = DDPMScheduler.from_pretrained(STARTER_MODEL / "scheduler")
    shown = itertools.cycle(session.source.plan.read(0))

    def step() -> float:
        batch = next(shown)
        noise = torch.randn(BATCH, 4, 16, 16, device=device)
        latents = session.source.latents.sample(batch.indices, batch.flips, torch.randn_like(noise))
        timesteps = torch.randint(0, 1000, (BATCH,), device=device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        with session.context.accelerator.autocast():
            tokens = session.family.tokenizers[0](  # type: ignore[attr-defined]
                list(batch.captions), padding="max_length", truncation=True, return_tensors="pt"
            )
            encoded = text(tokens.input_ids.to(device))[0]
            predicted = unet(noisy.to(dtype), timesteps, encoded, return_dict=False)[0]
            loss = functional.mse_loss(predicted.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach().item()  # diffusers' examples read the loss at every step

    return step


def measure(step: Callable[[], Any], steps: int, session: Session) -> float:
    """Returns seconds per step."""
    wait(session)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    wait(session)
    return (time.perf_counter() - start) / steps


def wait(session: Session) -> None:
    """Waits for the device, so that what is timed is done."""
    if session.context.device.type == "cuda":
        torch.cuda.synchronize()


def write_results(
    rounds: list[dict[str, float]], session: Session, args: argparse.Namespace
) -> None:
    """Prints the ratio and keeps it with what it was measured on."""
    device = session.context.device
    ratios = [each["peft"] / each["ours"] for each in rounds]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    results = {
        "command": "python benchmarks/speed.py",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": f"{device.type} {name}".strip(),
        "cores": os.cpu_count(),
        "precision": session.context.precision,
        "versions": {
            each: version(each) for each in ("torch", "diffusers", "transformers", "peft")
        },
        "work": f"starter model, batch {BATCH}, rank {RANK}, "
        f"{len(session.adapters.adapters)} layers",
        "steps_per_round": args.steps,
        "seconds_per_step": {
            key: statistics.median(each[key] for each in rounds) for key in ("ours", "peft")
        },
        "peft_over_ours": {
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        },
    }
    path = args.results or Path(str(RESULTS).format(device=device.type))
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
