"""What the training minimises."""

from typing import Literal

from pydantic import Field

from trainer.config.section import Section


class ObjectiveConfig(Section):
    """Loss of the denoiser, its weighting over time steps, and the noise."""

    loss: Literal["mse", "l1", "huber", "smooth_l1"] = Field(
        default="mse",
        description="Distance between prediction and target; huber and smooth_l1 let odd pixels "
        "pull less than mse does.",
    )
    huber_c: float = Field(
        default=0.1,
        gt=0,
        le=100,
        description="Where huber and smooth_l1 pass from squared to linear; 0.1 is usual.",
    )
    huber_schedule: Literal["constant", "exponential", "snr"] = Field(
        default="constant",
        description="Whether that place moves with the noise: exponential and snr make noisy time "
        "steps more robust and leave the fine ones squared.",
    )
    weighting: Literal["none", "min_snr", "soft_min_snr", "debiased"] = Field(
        default="min_snr",
        description="Factor per example by its signal-to-noise ratio; min_snr caps the easy, "
        "nearly noiseless time steps, soft_min_snr does it without a kink, debiased leans towards "
        "noisy ones.",
    )
    min_snr_gamma: float = Field(
        default=5.0,
        gt=0,
        le=100,
        description="The cap of min_snr and soft_min_snr; 5 is the paper's value.",
    )
    noise_offset: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Shifts the noise of each example by a random brightness, which helps very "
        "dark and very bright images; 0.03 to 0.05 is usual, 0 is off.",
    )
    pyramid_noise: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Adds coarse noise, each coarser level weighing this much of the one before: "
        "another way to learn brightness and large shapes; 0.3 is usual, 0 is off.",
    )
    input_perturbation: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Shows the model a little more noise than it has to find, against "
        "overfitting; 0.1 is the paper's value, 0 is off.",
    )
    timesteps: Literal["uniform", "logit_normal"] = Field(
        default="uniform",
        description="Which time steps are trained how often; logit_normal prefers the middle.",
    )
    timestep_shift: float = Field(
        default=0.0,
        ge=-5,
        le=5,
        description="Moves logit_normal: above 0 towards noise (composition), below 0 towards "
        "detail.",
    )
    min_timestep: int = Field(default=0, ge=0, le=999, description="Lowest time step trained on.")
    max_timestep: int = Field(
        default=999, ge=0, le=999, description="Highest time step trained on (999 is pure noise)."
    )
    unmasked_weight: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="How much the part outside a mask still counts; 0 ignores it.",
    )
    prior: Literal["none", "teacher", "images"] = Field(
        default="none",
        description="Keeps what the model knew of the class: teacher holds the adapted model to "
        "the base model's own answers and needs no images, images also trains on "
        "dataset.prior_path.",
    )
    prior_weight: float = Field(
        default=1.0, gt=0, le=100, description="How much the prior counts beside the dataset."
    )
