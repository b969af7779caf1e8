"""The samplers of generated images, by the names that A1111 shows, and what ComfyUI calls them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class SamplerSpec:
    """One sampler.

    Attributes:
        name: As A1111 shows it.
        comfyui: "sampler_name" and "scheduler" of ComfyUI's KSampler.
        scheduler: The class of diffusers.
        options: Its arguments, beside those of the base model's own scheduler.
        zero_snr: Whether it can begin with pure noise, which models with such a schedule need.
        flow: The class for models of rectified flow; "" where it is no sampler for them.
    """

    name: str
    comfyui: tuple[str, str]
    scheduler: str
    options: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    zero_snr: bool = True
    flow: str = ""


_MULTISTEP = "DPMSolverMultistepScheduler"
_KARRAS: Mapping[str, object] = {"use_karras_sigmas": True}
_SDE: Mapping[str, object] = {"algorithm_type": "sde-dpmsolver++"}
_ALL = (
    SamplerSpec("DDIM", ("ddim", "ddim_uniform"), "DDIMScheduler", {"clip_sample": False}),
    SamplerSpec(
        "Euler", ("euler", "normal"), "EulerDiscreteScheduler",
        flow="FlowMatchEulerDiscreteScheduler",
    ),
    SamplerSpec("Euler a", ("euler_ancestral", "normal"), "EulerAncestralDiscreteScheduler"),
    SamplerSpec("Heun", ("heun", "normal"), "HeunDiscreteScheduler", zero_snr=False),
    SamplerSpec("DPM2", ("dpm_2", "normal"), "KDPM2DiscreteScheduler", zero_snr=False),
    SamplerSpec(
        "DPM2 a", ("dpm_2_ancestral", "normal"), "KDPM2AncestralDiscreteScheduler", zero_snr=False
    ),
    SamplerSpec("DPM++ 2M", ("dpmpp_2m", "normal"), _MULTISTEP, flow=_MULTISTEP),
    SamplerSpec("DPM++ 2M Karras", ("dpmpp_2m", "karras"), _MULTISTEP, _KARRAS),
    SamplerSpec("DPM++ 2M SDE", ("dpmpp_2m_sde", "normal"), _MULTISTEP, _SDE),
    SamplerSpec(
        "DPM++ 2M SDE Karras", ("dpmpp_2m_sde", "karras"), _MULTISTEP, {**_KARRAS, **_SDE}
    ),
    SamplerSpec(
        "UniPC", ("uni_pc", "normal"), "UniPCMultistepScheduler", flow="UniPCMultistepScheduler"
    ),
    SamplerSpec("LCM", ("lcm", "normal"), "LCMScheduler", {"clip_sample": False}),
)  # fmt: skip
SAMPLERS: dict[str, SamplerSpec] = {each.name: each for each in _ALL}
