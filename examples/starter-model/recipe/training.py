"""The training loop of VAE and UNet: interrupted anywhere, it goes on as if it had not been."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from datasets_tools.files import write_atomically
from recipe.errors import OutOfTimeError, RecipeError
from trainer.config import OptimizerConfig, schedule_factor
from trainer.optim import Average
from trainer.tensor_file import load_tensors

_CHECKPOINT = "checkpoint.safetensors"
_REPORT_EVERY = 100
_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
_OUTER_LAYERS = {"conv_in", "conv_out", "token_embedding", "position_embedding"}


@dataclass(frozen=True)
class DeviceContext:
    """Where and how to compute.

    Attributes:
        device: The processor or a GPU.
        compiled: Whether networks go through torch.compile.
        stop_at: Moment of `time.monotonic` at which to stop and save.
    """

    device: torch.device
    compiled: bool = False
    stop_at: float = math.inf

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context of mixed precision: bf16 where the device computes in it."""
        # Measured on a processor with AVX512-BF16: 1.3 times faster for the VAE's steps.
        able = self.device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=able)

    def attention(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context in which attention is fast, backward too."""
        if self.device.type == "cuda":
            return contextlib.nullcontext()
        # A third of a UNet's step went into the fused kernel's backward, which is slow in bf16.
        return sdpa_kernel(SDPBackend.MATH)

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, compiled if that is wanted."""
        return torch.compile(function) if self.compiled else function

    def generator(self, seed: int) -> torch.Generator:
        """Returns a generator on the device."""
        return torch.Generator(self.device).manual_seed(seed)


def make_device_context(device: str, compiled: bool, stop_at: float = math.inf) -> DeviceContext:
    """Returns the machine that is asked for, set up for speed.

    Raises:
        RecipeError: there is no such device here, or it cannot train compiled networks.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        msg = f"There is no device {device!r} here ({error}). Use --device cpu."
        raise RecipeError(msg) from error
    if compiled and chosen.type == "cpu":
        # PyTorch 2.13: with bf16 autocast a compiled UNet's inner layers have gradients of zero.
        msg = "torch.compile loses gradients on a processor. Leave --compile out."
        raise RecipeError(msg)
    # Batches keep their shapes, so measuring once which kernel is fastest pays.
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return DeviceContext(chosen, compiled, stop_at)


@dataclass(frozen=True)
class Pace:
    """How long and how fast to learn.

    Attributes:
        steps: Updates in all.
        learning_rate: Of AdamW: biases, norms, embeddings, the first and last layers.
        matrix_learning_rate: Of Muon: all other weights.
        warmup_steps: Of both rates; then they follow a cosine to zero.
        average_decay: Of the running average, which is the result.
        average_every: Updates between two of the average.
        checkpoint_every: Updates between two checkpoints.
    """

    steps: int
    learning_rate: float
    matrix_learning_rate: float
    warmup_steps: int
    average_decay: float
    average_every: int
    checkpoint_every: int


class TrainingState:
    """The state of a training: weights, the optimisers' state, a running average.

    Hidden matrices are trained by Muon (Jordan 2024, kellerjordan.github.io/posts/muon), all else
    by
    AdamW: after 200 steps the VAE stood at 19 to 21 dB where AdamW alone had come to 16 to 17.

    Args:
        networks: By name.
        pace: Of the training.
    """

    def __init__(self, networks: Mapping[str, nn.Module], pace: Pace) -> None:
        self.networks = dict(networks)
        self.pace = pace
        self.step = 0
        self.parameters = {
            f"{part}.{name}": parameter
            for part, network in networks.items()
            for name, parameter in network.named_parameters()
        }
        # Muon takes matrices alone, so it is given a flat view of each kernel.
        self.matrices = {
            name: nn.Parameter(_flatten(parameter.detach()))
            for name, parameter in self.parameters.items()
            if _is_hidden_matrix(name, parameter)
        }
        others = [p for name, p in self.parameters.items() if name not in self.matrices]
        self.others = others
        self.adam = torch.optim.AdamW(
            others, lr=pace.learning_rate, betas=(0.9, 0.99), fused=others[0].is_cuda or None
        )
        self.muon = torch.optim.Muon(
            self.matrices.values(), lr=pace.matrix_learning_rate, weight_decay=0.0
        )
        self.average = Average(self.parameters, pace.average_decay)

    def update(self, loss: Tensor) -> None:
        """Takes one step against a loss.

        Raises:
            RecipeError: the first loss does not depend on some of the matrices.
        """
        pace = self.pace
        shape = OptimizerConfig(schedule="cosine", warmup_steps=pace.warmup_steps)
        factor = schedule_factor(shape, self.step, pace.steps)
        self.adam.param_groups[0]["lr"] = pace.learning_rate * factor
        self.muon.param_groups[0]["lr"] = pace.matrix_learning_rate * factor
        loss.backward()
        if self.step == 0:
            self._check_gradients()
        nn.utils.clip_grad_norm_(self.others, 1.0)
        for name, matrix in self.matrices.items():
            gradient = self.parameters[name].grad
            matrix.grad = None if gradient is None else _flatten(gradient)
        self.adam.step()
        self.muon.step()
        for parameter in self.parameters.values():
            parameter.grad = None
        self.step += 1
        if self.step % pace.average_every == 0:
            self.average.update(self.step // pace.average_every)

    @torch.no_grad()
    def start_from(self, networks: Mapping[str, nn.Module]) -> None:
        """Takes over the weights of networks that were trained before, by name."""
        for part, network in networks.items():
            for name, parameter in network.named_parameters():
                self.parameters[f"{part}.{name}"].copy_(parameter)
                self.average.values[f"{part}.{name}"].copy_(parameter)

    @torch.no_grad()
    def keep_on_device(self) -> None:
        """Leaves the running averages as the weights, at the end."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.average.values[name])

    def _check_gradients(self) -> None:
        """Rejects networks of which a part would keep its random initial weights."""
        gradients = {name: self.parameters[name].grad for name in self.matrices}
        idle = [name for name, each in gradients.items() if each is None or not each.any()]
        if idle:
            msg = (
                f"The loss has no gradient at {len(idle)} of {len(gradients)} matrices, first at "
                f"{idle[0]}: they would never be trained. Leave --compile out, or fix the loss."
            )
            raise RecipeError(msg)

    def save(self, folder: Path) -> None:
        """Writes everything that is needed to go on, in one file, aside and renamed."""
        tensors = dict(self.parameters)
        tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
        for name in self.parameters:
            values = self._find_optimizer_state(name)
            tensors |= {f"optimizer.{key}.{name}": value for key, value in values.items()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        write_atomically(folder / _CHECKPOINT, save(plain, metadata={"step": str(self.step)}))

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Goes back to the checkpoint in the folder, if there is one.

        Raises:
            RecipeError: it is damaged.
        """
        path = folder / _CHECKPOINT
        if not path.is_file():
            return
        try:
            with safe_open(path, framework="pt") as stored:
                step = int(stored.metadata()["step"])
            tensors = load_tensors(path)  # copies: the next checkpoint replaces the file
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[name])
                self.average.values[name].copy_(tensors[f"average.{name}"])
                keys = ("momentum_buffer",) if name in self.matrices else _ADAM_STATE
                self._find_optimizer_state(name).update(
                    # The fused kernel wants its step counter where the weights are.
                    {key: tensors[f"optimizer.{key}.{name}"].to(parameter.device) for key in keys}
                )
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            msg = f"{path} is damaged ({error}). Delete it to begin this stage again."
            raise RecipeError(msg) from error
        self.step = step

    def _find_optimizer_state(self, name: str) -> dict[str, Tensor]:
        if name in self.matrices:
            return self.muon.state[self.matrices[name]]
        return self.adam.state[self.parameters[name]]


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon trains it: a matrix or kernel between hidden layers, as recommended."""
    layer = name.split(".")[-2]
    return parameter.ndim >= 2 and layer not in _OUTER_LAYERS


def _flatten(kernel: Tensor) -> Tensor:
    """Returns a matrix, one row per output; of a weight it is a view, in either memory format."""
    if kernel.ndim == 4 and kernel.is_contiguous(memory_format=torch.channels_last):
        kernel = kernel.permute(0, 2, 3, 1)
    return kernel.flatten(1)


def learn(
    state: TrainingState, loss_at: Callable[[int], Tensor], context: DeviceContext, folder: Path
) -> None:
    """Trains to the end of the pace, from the last checkpoint on; leaves the averages as weights.

    Args:
        state: What learns.
        loss_at: The loss of a step; everything random in it comes from the number of the step.
        context: When to stop.
        folder: For checkpoints.

    Raises:
        OutOfTimeError: the time is over; the next call goes on from here.
        RecipeError: the loss is no longer a number.
    """
    state.load(folder)
    pace = state.pace
    began, first = time.monotonic(), state.step
    while state.step < pace.steps:
        loss = loss_at(state.step)
        state.update(loss)
        over = time.monotonic() > context.stop_at
        if state.step % _REPORT_EVERY == 0 or state.step == pace.steps:
            _report(state, loss.item(), (time.monotonic() - began) / (state.step - first))
        if over or state.step % pace.checkpoint_every == 0:
            state.save(folder)
        if over and state.step < pace.steps:
            msg = f"stopped after step {state.step} of {pace.steps}"
            raise OutOfTimeError(msg)
    state.keep_on_device()


def remove_checkpoint(folder: Path) -> None:
    """Deletes the checkpoint of a finished training."""
    (folder / _CHECKPOINT).unlink(missing_ok=True)


def _report(state: TrainingState, loss: float, seconds: float) -> None:
    print(
        f"  step {state.step} of {state.pace.steps}  loss {loss:.4f}  {seconds:.3f} s a step",
        flush=True,
    )
    if not math.isfinite(loss):
        msg = f"The loss is {loss} at step {state.step}. Lower the learning rate and start again."
        raise RecipeError(msg)
