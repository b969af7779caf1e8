"""The samplers of samples and previews: diffusers' schedulers, as a base model needs them."""

from typing import Any

from trainer.models.check import BaseModelInfo


def name_sampler(info: BaseModelInfo) -> str:
    """Returns what A1111 calls a base model's sampler."""
    return "Euler" if info.prediction == "flow" else "DDIM"


def make_scheduler(info: BaseModelInfo) -> Any:
    """Returns the scheduler for the pipelines of Stable Diffusion."""
    if info.prediction == "flow":
        return _make_flow_scheduler(info.flow_shift)
    from diffusers import DDIMScheduler

    changes: dict[str, Any] = {"prediction_type": info.prediction, "clip_sample": False}
    if info.zero_snr:
        # Pure noise is a step of its own then, and must be the first one (arXiv:2305.08891).
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return DDIMScheduler.from_config(info.scheduler, **changes)


def list_sigmas(info: BaseModelInfo, steps: int) -> dict[str, list[float]]:
    """Returns the pipeline's argument with the share of noise at each step, before the shift.

    Only rectified flow has one: 1, (steps - 1) / steps … 1 / steps. Left to itself, the scheduler
    would spend its last step on the last thousandth of the noise.
    """
    if info.prediction != "flow":
        return {}
    return {"sigmas": [1 - step / steps for step in range(steps)]}


def _make_flow_scheduler(shift: float) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=shift)
    # What the pipelines ask of schedulers of diffusion, whose noise and inputs may be scaled.
    scheduler.init_noise_sigma = 1.0
    scheduler.scale_model_input = _leave_input
    return scheduler


def _leave_input(sample: Any, timestep: Any = None) -> Any:
    del timestep
    return sample
