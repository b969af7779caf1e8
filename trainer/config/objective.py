"""What the training minimises."""

from typing import Literal

from pydantic import Field

from trainer.config.section import Section


class ObjectiveConfig(Section):
    """Loss of the denoiser, its weighting over time steps, and the noise."""

    weighting: Literal["none", "min_snr"] = Field(
        default="min_snr",
        description="Factor per example by its signal-to-noise ratio; min_snr caps the easy, "
        "nearly noiseless time steps.",
    )
    min_snr_gamma: float = Field(
        default=5.0, gt=0, le=100, description="The cap of min_snr; 5 is the paper's value."
    )
    noise_offset: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Shifts the noise of each example by a random brightness, which helps very "
        "dark and very bright pictures; 0.03 to 0.05 is usual, 0 is off.",
    )
    min_timestep: int = Field(default=0, ge=0, le=999, description="Lowest time step trained on.")
    max_timestep: int = Field(
        default=999, ge=0, le=999, description="Highest time step trained on (999 is pure noise)."
    )
