"""Is what a base model predicts measured right, on variants of the starter model?

    python benchmarks/prediction.py [--steps N] [--results FILE]

The variants predict the noise, v, v with zero terminal SNR, or a rectified flow: made by algebra
from the starter model's own answers, and trained, the whole UNet for so many steps from the starter
model. Each is measured as it is, with noise on its weights, and with a LoRA baked in; on the images
of the style dataset and on plain shapes.
"""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - needs the settings above

from benchmarks.prediction_variants import (  # noqa: E402
    bake_random_lora,
    convert_answers,
    copy_weights,
    fine_tune,
    perturb_weights,
)
from datasets_tools.examples import Example, scan_folder  # noqa: E402
from datasets_tools.images import read_image  # noqa: E402
from trainer.commands import quiet_model_libraries  # noqa: E402
from trainer.config import BaseModelConfig  # noqa: E402
from trainer.device import open_device_context  # noqa: E402
from trainer.models import load_family  # noqa: E402
from trainer.training.measurement import measure_base_model, to_pixels  # noqa: E402

STARTER_MODEL = ROOT / "examples" / "starter-model"
DATASET = ROOT / "examples" / "openmoji-style" / "images"
RESULTS = ROOT / "benchmarks" / "results" / "prediction-cpu.json"
NOISE, LORA_RANK, LORA_SHARE = 0.1, 8, 0.1
# Name → what it predicts, and whether its noise schedule ends in pure noise.
KINDS = {
    "epsilon": ("epsilon", False),
    "v": ("v_prediction", False),
    "v, zero SNR": ("v_prediction", True),
    "flow": ("flow", False),
}


class Variants:
    """The starter model, which each variant changes and restores."""

    def __init__(self) -> None:
        self.context = open_device_context("cpu", "fp32")
        config = BaseModelConfig(path=str(STARTER_MODEL))
        self.family = load_family(config, self.context.device, self.context.dtype)
        self.unet: Any = self.family.adaptable_models()["unet"]
        self.original = copy_weights(self.unet)
        self.examples: list[Example] = scan_folder(DATASET)[0]
        self.rows: list[dict[str, Any]] = []

    def measure_by_algebra(self) -> None:
        """Measures the variants that are made of the starter model's own answers."""
        family: Any = self.family
        for name, (kind, zero_snr) in KINDS.items():
            if not zero_snr:
                family.predict = convert_answers(family, kind)
                self._measure_all(name, kind, "algebra", 0)
                del family.predict
        self.unet.load_state_dict(self.original)

    def measure_trained(self, steps: int) -> None:
        """Measures the variants that are trained."""
        side = self.family.default_resolution
        pixels = [to_pixels(read_image(each.path), side) for each in self.examples]
        latents = torch.cat([self.family.encode_images(each).mean for each in pixels])
        captions = [each.caption for each in self.examples]
        for name, (kind, zero_snr) in KINDS.items():
            if kind == "epsilon":
                continue
            self.unet.load_state_dict(self.original)
            done = 0
            for more in (steps // 4, steps - steps // 4):
                fine_tune(
                    self.family, kind, latents, captions, more,
                    lambda step, loss: print(f"{step} {loss:.4f}") if step % 50 == 0 else None,
                    zero_snr=zero_snr,
                )  # fmt: skip
                done += more
                self._measure_all(name, kind, "trained", done)

    def _measure_all(self, name: str, kind: str, made: str, steps: int) -> None:
        weights = copy_weights(self.unet)
        for change in ("none", "noise", "lora"):
            if change == "noise":
                perturb_weights(self.unet, NOISE)
            elif change == "lora":
                bake_random_lora(self.unet, LORA_RANK, LORA_SHARE)
            for images, examples in (("dataset", self.examples), ("shapes", [])):
                measurement = measure_base_model(self.family, self.context, examples)
                row = {
                    "variant": name, "made": made, "steps": steps, "change": change,
                    "images": images, "right": measurement.prediction == kind,
                    "measured": measurement.to_dict(),
                }  # fmt: skip
                self.rows.append(row)
                print(_describe(row), flush=True)
            self.unet.load_state_dict(weights)


def main() -> None:
    """Measures all variants and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=160, help="updates of a trained variant")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    quiet_model_libraries()
    variants = Variants()
    variants.measure_by_algebra()
    if args.steps:
        variants.measure_trained(args.steps)
    right = sum(row["right"] for row in variants.rows)
    print(f"{right} of {len(variants.rows)} measured right")
    report = {
        "command": " ".join(["python", "benchmarks/prediction.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "rows": variants.rows,
    }
    args.results.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _describe(row: dict[str, Any]) -> str:
    measured = row["measured"]
    ratios = ", ".join(f"{each['ratio']}" for each in measured["evidence"])
    explained = ", ".join(f"{each['explained']}" for each in measured["evidence"])
    return (
        f"{row['variant']:12} {row['made']:8} {row['steps']:4} {row['change']:6} "
        f"{row['images']:8} -> {measured['prediction'] or 'unknown':12} -b/a {ratios}; "
        f"explained {explained}; {measured['distances']}"
    )


if __name__ == "__main__":
    main()
