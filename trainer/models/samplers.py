"""The samplers of samples and previews: diffusers' schedulers, as a base model needs them."""

from typing import Any

from trainer.formats.samplers import SAMPLERS, SamplerSpec
from trainer.models.check import BaseModelInfo
from trainer.models.errors import ModelError

_FLOW_EULER = "FlowMatchEulerDiscreteScheduler"


def name_sampler(info: BaseModelInfo) -> str:
    """Returns what A1111 calls a base model's usual sampler."""
    return "Euler" if info.prediction == "flow" else "DDIM"


def list_samplers(info: BaseModelInfo) -> list[str]:
    """Returns the samplers that generate images with a base model."""
    return [name for name, spec in SAMPLERS.items() if _fits(info, spec)]


def make_scheduler(info: BaseModelInfo, sampler: str = "") -> Any:
    """Returns the scheduler for the pipelines of Stable Diffusion.

    Args:
        info: Of the base model, whose noise schedule and prediction type it gets.
        sampler: A key of `SAMPLERS`; "" is the base model's usual one.

    Raises:
        ModelError: there is no such sampler, or none for such a base model.
    """
    spec = SAMPLERS.get(sampler or name_sampler(info))
    if spec is None or not _fits(info, spec):
        fitting = ", ".join(list_samplers(info))
        msg = f"The sampler {sampler} does not work with this base model. Choose one of: {fitting}."
        raise ModelError(msg)
    if info.prediction == "flow":
        return _make_flow_scheduler(spec, info.flow_shift)
    import diffusers

    changes: dict[str, Any] = {"prediction_type": info.prediction, **spec.options}
    if info.zero_snr:
        # Pure noise is a step of its own then, and must be the first one (arXiv:2305.08891).
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return getattr(diffusers, spec.scheduler).from_config(info.scheduler, **changes)


def list_sigmas(info: BaseModelInfo, steps: int, sampler: str = "") -> dict[str, list[float]]:
    """Returns the pipeline's argument with the share of noise at each step, before the shift.

    Only Euler's of rectified flow has one: 1, (steps - 1) / steps … 1 / steps. Left to itself, it
    would spend its last step on the last thousandth of the noise.
    """
    spec = SAMPLERS.get(sampler or name_sampler(info))
    if info.prediction != "flow" or spec is None or spec.flow != _FLOW_EULER:
        return {}
    return {"sigmas": [1 - step / steps for step in range(steps)]}


def _fits(info: BaseModelInfo, spec: SamplerSpec) -> bool:
    if info.prediction == "flow":
        return bool(spec.flow)
    return spec.zero_snr or not info.zero_snr


def _make_flow_scheduler(spec: SamplerSpec, shift: float) -> Any:
    import diffusers

    kind = getattr(diffusers, spec.flow)
    if spec.flow != _FLOW_EULER:
        return kind(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    scheduler: Any = kind(shift=shift)
    # What the pipelines ask of schedulers of diffusion, whose noise and inputs may be scaled.
    scheduler.init_noise_sigma = 1.0
    scheduler.scale_model_input = _leave_input
    return scheduler


def _leave_input(sample: Any, timestep: Any = None) -> Any:
    del timestep
    return sample
