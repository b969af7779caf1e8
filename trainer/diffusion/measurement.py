"""What a model predicts, measured from its answers.

A model is shown clean latents x with noise n at three time steps, mixed as for diffusion. Its
answer o is regressed on both: o = a n + b x. Whatever it predicts, o is close to a known mixture:
n itself (b = 0), alpha n - sigma x for v (-b / a = sigma / alpha, which grows with the time step),
n - x for rectified flow (-b / a = 1 at every time step). The mixture is compared as an angle,
atan2(-b, a), which is bounded and does not depend on the answer's size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.diffusion.schedule import NoiseSchedule, add_noise

# Of 1000; the mixtures of v and of rectified flow differ at the first two, of v and of the noise
# at the last.
TIMESTEPS = (60, 250, 750)
# Of the answers' energy, what the regression must explain for them to mean anything. At the last
# time step the noised image is nearly all noise, which a model that predicts the noise passes on
# whatever the image is; of the others the answer depends on what they make of the image.
_LEAST_EXPLAINED = 0.25
_LEAST_EXPLAINED_AT_LAST = {"epsilon": 0.8}
# In radians: how far the angles may be from those of a kind, and how much farther from the next.
_LARGEST_DISTANCE = 0.3
_LEAST_MARGIN = 0.15


@dataclass(frozen=True)
class Evidence:
    """The regression at one time step.

    Attributes:
        timestep: Of the noised latents.
        noise: How much of the noise the answer holds, a.
        image: How much of the clean latents, b.
        explained: Share of the answer's energy that both explain.
        expected: The angle of each kind of prediction.
    """

    timestep: int
    noise: float
    image: float
    explained: float
    expected: dict[str, float]

    @property
    def angle(self) -> float:
        """Of the measured mixture, in radians."""
        return math.atan2(-self.image, self.noise)

    @property
    def ratio(self) -> float:
        """-b / a: 0 for the noise, sigma / alpha for v, 1 for rectified flow."""
        return -self.image / self.noise if self.noise else math.inf


@dataclass(frozen=True)
class Measurement:
    """What a model predicts by its answers.

    Attributes:
        evidence: The regressions, by time step.
        images: Which images were noised, for a sentence.
    """

    evidence: tuple[Evidence, ...]
    images: str

    @property
    def distances(self) -> dict[str, float]:
        """How far the answers are from each kind (root mean square), the nearest first."""
        kinds = self.evidence[0].expected
        distances = {
            kind: math.sqrt(
                sum((each.angle - each.expected[kind]) ** 2 for each in self.evidence)
                / len(self.evidence)
            )
            for kind in kinds
        }
        return dict(sorted(distances.items(), key=lambda row: row[1]))

    @property
    def margin(self) -> float:
        """How much farther the answers are from the second nearest kind than from the nearest."""
        nearest, second, *_ = self.distances.values()
        return second - nearest

    @property
    def prediction(self) -> str:
        """The kind of prediction; "" where the answers fit none, or two alike."""
        nearest, distance = next(iter(self.distances.items()))
        fits = distance <= _LARGEST_DISTANCE and self.margin >= _LEAST_MARGIN
        least = max(_LEAST_EXPLAINED, _LEAST_EXPLAINED_AT_LAST.get(nearest, 0.0))
        explained = all(each.explained >= _LEAST_EXPLAINED for each in self.evidence)
        return nearest if fits and explained and self.evidence[-1].explained >= least else ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the answer with its evidence, for JSON."""
        return {
            "prediction": self.prediction,
            "margin": round(self.margin, 3),
            "distances": {kind: round(each, 3) for kind, each in self.distances.items()},
            "images": self.images,
            "evidence": [
                {
                    "timestep": each.timestep,
                    "noise": round(each.noise, 4),
                    "image": round(each.image, 4),
                    "ratio": round(each.ratio, 3) if math.isfinite(each.ratio) else None,
                    "explained": round(each.explained, 3),
                }
                for each in self.evidence
            ],
        }


def measure_prediction(
    predict: Callable[[int, Tensor, Tensor], Tensor],
    latents: Sequence[Tensor],
    schedule: NoiseSchedule,
    images: str,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Measurement:
    """Returns what a model predicts.

    Args:
        predict: From an image's number, its noised latents [1, C, h, w] and a time step [1] to the
            model's answer, [1, C, h, w].
        latents: Clean, scaled latents, each [1, C, h, w], on the CPU.
        schedule: That of the base model's family, on the CPU.
        images: Which images they are, for a sentence.
        seed: Of the noise.
        progress: Called with how many answers there are, and of how many.
    """
    generator = torch.Generator().manual_seed(seed)
    noises = [torch.randn(each.shape, generator=generator) for each in latents]
    count = len(schedule.alphas_cumprod)
    evidence: list[Evidence] = []
    for place, timestep in enumerate(each * count // 1000 for each in TIMESTEPS):
        step = torch.tensor([timestep])
        sums = torch.zeros(6, dtype=torch.float64)
        for index, (clean, noise) in enumerate(zip(latents, noises, strict=True)):
            answer = predict(index, add_noise(schedule, clean, noise, step), step)
            sums += _sum_products(noise, clean, answer.detach().float().cpu())
            if progress is not None:
                progress(place * len(latents) + index + 1, len(TIMESTEPS) * len(latents))
        evidence.append(_regress(timestep, sums, float(schedule.alphas_cumprod[timestep])))
    return Measurement(tuple(evidence), images)


def _sum_products(noise: Tensor, clean: Tensor, answer: Tensor) -> Tensor:
    n, x, o = (each.flatten().double() for each in (noise, clean, answer))
    return torch.stack([n @ n, x @ x, n @ x, n @ o, x @ o, o @ o])


def _regress(timestep: int, sums: Tensor, signal: float) -> Evidence:
    """Solves the normal equations of o = a n + b x."""
    nn, xx, nx, no, xo, oo = sums.tolist()
    expected = {
        "epsilon": 0.0,
        "v_prediction": math.atan2(math.sqrt(1 - signal), math.sqrt(signal)),
        "flow": math.pi / 4,
    }
    determinant = nn * xx - nx * nx
    if not math.isfinite(oo) or oo <= 0 or determinant <= 0:
        return Evidence(timestep, 0.0, 0.0, 0.0, expected)
    a, b = (no * xx - xo * nx) / determinant, (xo * nn - no * nx) / determinant
    return Evidence(timestep, a, b, (a * no + b * xo) / oo, expected)
