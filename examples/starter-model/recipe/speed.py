"""How long the trainings would take here: a few steps of each, timed."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recipe.composing import Sprites
from recipe.networks import LATENT_SHAPE
from recipe.settings import Settings
from recipe.train_unet import TrainingSet, make_unet_loss
from recipe.train_vae import make_vae_loss
from recipe.training import DeviceContext, TrainingState

_WARM_UP, _TIMED = 5, 30


def measure_speed(
    sprites: Sprites, vocabulary: int, settings: Settings, context: DeviceContext
) -> dict[str, float]:
    """Returns seconds per step of both trainings, on made-up latents and captions."""
    known = torch.arange(len(sprites), device=context.device)
    state, loss_at = make_vae_loss(sprites, known, settings.vae, settings.seed, context)
    seconds = {"vae": _time(state, loss_at, context)}
    training_set = TrainingSet(
        torch.randn(4096, *LATENT_SHAPE, device=context.device).half(),
        (1024,) * 4,
        torch.zeros(4096, 1, dtype=torch.int32, device=context.device),
        torch.tensor(np.full((2, 77), vocabulary - 1, dtype=np.int16), device=context.device),
    )
    training, loss_at = make_unet_loss(
        training_set, vocabulary, settings.unet, settings.seed, context
    )
    seconds["unet"] = _time(training.state, loss_at, context)
    unet_steps = settings.unet.steps + settings.refine.steps
    for name, steps in (("vae", settings.vae.steps), ("unet", unet_steps)):
        minutes = seconds[name] * steps / 60
        print(
            f"  {name}: {seconds[name]:.4f} s a step, {steps} steps in {minutes:.1f} min",
            flush=True,
        )
    return seconds


def _time(state: TrainingState, loss_at: Callable[[int], Tensor], context: DeviceContext) -> float:
    for step in range(_WARM_UP):
        state.update(loss_at(step))
    _wait(context)
    began = time.perf_counter()
    for step in range(_WARM_UP, _WARM_UP + _TIMED):
        state.update(loss_at(step))
    _wait(context)
    return (time.perf_counter() - began) / _TIMED


def _wait(context: DeviceContext) -> None:
    if context.device.type == "cuda":
        torch.cuda.synchronize()
