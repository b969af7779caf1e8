"""How the adapter's weights are changed at each step."""

from typing import Literal

from pydantic import Field

from trainer.config.section import Section


class OptimizerConfig(Section):
    """AdamW with one learning rate per part of the model and a schedule over the run."""

    kind: Literal["adamw"] = Field(default="adamw", description="Optimiser.")
    unet_learning_rate: float = Field(
        default=2e-4,
        ge=0,
        le=1,
        description="Learning rate of the UNet's attention and feed-forward layers.",
    )
    conv_learning_rate: float = Field(
        default=2e-4,
        ge=0,
        le=1,
        description="Learning rate of the UNet's resnet, down- and up-sampling layers.",
    )
    text_learning_rate: float = Field(
        default=5e-5, ge=0, le=1, description="Learning rate of the text encoder."
    )
    schedule: Literal["constant", "cosine", "linear"] = Field(
        default="cosine", description="How the learning rates fall from full to zero over the run."
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Steps over which the learning rates rise from zero.",
    )
    weight_decay: float = Field(
        default=0.01, ge=0, le=10, description="Pull of the weights towards zero."
    )
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Memory of the gradient's mean.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Memory of the gradient's square.")
    max_grad_norm: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        description="Longer gradients are scaled down to this norm; 0 is off.",
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Keeps a running average of the adapter's weights for samples and the final "
        "file; 0 is off, 0.99 suits a few hundred steps.",
    )
