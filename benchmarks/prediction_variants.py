"""Variants of the starter model that predict something else: by algebra, and trained."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import ObjectiveConfig
from trainer.diffusion import (
    PROCESSES,
    NoiseSchedule,
    make_schedule,
    sample_randomness,
    training_loss,
)
from trainer.models import Conditioning, Family

Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]
_CPU = torch.device("cpu")


def convert_answers(family: Family, kind: str) -> Predict:
    """Returns a `predict` that gives what a model of another kind would answer.

    Args:
        family: A base model that predicts the noise.
        kind: "epsilon", "v_prediction" or "flow".
    """
    predict: Predict = type(family).predict.__get__(family)
    schedule = make_schedule(**family.schedule_config())
    convert = {"epsilon": lambda *_: predict, "v_prediction": _predict_v, "flow": _predict_flow}
    return convert[kind](predict, schedule)


def _predict_v(predict: Predict, schedule: NoiseSchedule) -> Predict:
    def predict_v(noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        share = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = predict(noisy, timesteps, conditioning)
        # x0 = (x - sigma n) / alpha, so that v = alpha n - sigma x0 = (n - sigma x) / alpha.
        return (noise - (1 - share).sqrt() * noisy) / share.sqrt()

    return predict_v


def _predict_flow(predict: Predict, schedule: NoiseSchedule) -> Predict:
    ratios = ((1 - schedule.alphas_cumprod) / schedule.alphas_cumprod).sqrt()

    def predict_flow(noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        sigma = (timesteps / 1000).view(-1, 1, 1, 1)
        # The time step of diffusion with as much noise beside as much signal.
        nearest = (ratios - sigma.flatten()[:, None] / (1 - sigma.flatten()[:, None])).abs()
        place = nearest.argmin(dim=1)
        share = schedule.alphas_cumprod[place].view(-1, 1, 1, 1)
        scaled = noisy * share.sqrt() / (1 - sigma)
        noise = predict(scaled, place, conditioning)
        return noise - (scaled - (1 - share).sqrt() * noise) / share.sqrt()

    return predict_flow


def fine_tune(
    family: Family,
    kind: str,
    latents: Tensor,
    captions: Sequence[str],
    steps: int,
    report: Callable[[int, float], None] = lambda _step, _loss: None,
    *,
    zero_snr: bool = False,
) -> None:
    """Trains the whole UNet to predict something else; it changes the family.

    Args:
        family: A base model on the CPU.
        kind: "epsilon", "v_prediction" or "flow".
        latents: Clean, scaled latents, [N, C, h, w].
        captions: One for each.
        steps: Updates of 8 examples.
        report: Called with the step and its loss.
        zero_snr: Whether the noise schedule ends in pure noise.
    """
    config = {"shift": 1.0} if kind == "flow" else family.schedule_config() | {"zero_snr": zero_snr}
    process = PROCESSES["flow" if kind == "flow" else "diffusion"](config, kind, _CPU)
    unet: Any = family.adaptable_models()["unet"]
    unet.requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=3e-4, weight_decay=0.0)
    objective = ObjectiveConfig(weighting="none")
    with torch.no_grad():
        rows = [family.encode_captions([each]) for each in captions]
    order = torch.Generator().manual_seed(0)
    for step in range(steps):
        picked = torch.randint(len(captions), (8,), generator=order).tolist()
        conditioning = family.join_conditioning([rows[each] for each in picked])
        seeds = [1000 * step + each for each in range(8)]
        shape = (latents.shape[1], latents.shape[2], latents.shape[3])
        batch_noise = sample_randomness(seeds, shape, process, objective, _CPU)
        loss = training_loss(
            lambda noisy, timesteps, c=conditioning: family.predict(noisy, timesteps, c),  # type: ignore[misc]
            latents[picked], batch_noise, process, objective,
        ).mean()  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        report(step + 1, loss.item())
    unet.requires_grad_(requires_grad=False)


def perturb_weights(model: nn.Module, share: float, seed: int = 0) -> None:
    """Adds noise to every weight, of so much of its tensor's standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.numel() > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(share * weight.std() * noise)


def bake_random_lora(model: nn.Module, rank: int, share: float, seed: int = 0) -> None:
    """Adds a random matrix of low rank to each linear layer, of so much of the weight's norm."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                up = torch.randn(layer.out_features, rank, generator=generator)
                delta = up @ torch.randn(rank, layer.in_features, generator=generator)
                layer.weight.add_(share * layer.weight.norm() / delta.norm() * delta)


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of a model's weights, to be loaded again after it was changed."""
    return copy.deepcopy(model.state_dict())
