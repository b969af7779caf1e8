"""How the adapter's weights are changed at each step."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.config.section import Section

Part = Literal["unet", "conv", "text", "word"]
SMALLEST_PRODIGY_RATE = 0.1


class OptimizerConfig(Section):
    """An optimiser with one learning rate per part of the model and a schedule over the run."""

    kind: Literal["adamw", "adamw8bit", "prodigy", "adafactor", "lion", "schedule_free"] = Field(
        default="adamw",
        description="Optimiser. adamw8bit saves memory and needs the extra quantize; prodigy finds "
        "the learning rate itself (set all of them to 1); adafactor keeps the least; lion wants "
        "learning rates about five times smaller; schedule_free needs no schedule.",
    )
    unet_learning_rate: float = Field(
        default=2e-4,
        ge=0,
        le=10,
        description="Learning rate of the UNet's attention and feed-forward layers.",
    )
    conv_learning_rate: float = Field(
        default=2e-4,
        ge=0,
        le=10,
        description="Learning rate of the UNet's resnet, down- and up-sampling layers.",
    )
    text_learning_rate: float = Field(
        default=5e-5, ge=0, le=10, description="Learning rate of the text encoder."
    )
    word_learning_rate: float = Field(
        default=1e-4,
        ge=0,
        le=10,
        description="Learning rate of the trigger's vectors (adapter.word_vectors).",
    )
    lora_plus_ratio: float = Field(
        default=1.0,
        ge=1.0,
        le=64.0,
        description="LoRA+: how many times faster the weights that start at zero (B) learn than "
        "the others (A); 16 is the paper's value, 1 is off.",
    )
    schedule: Literal["constant", "linear", "cosine", "cosine_restarts", "rex", "stable_decay"] = (
        Field(
            default="cosine",
            description="How the learning rates fall from full to zero over the run.",
        )
    )
    restarts: int = Field(
        default=3, ge=1, le=100, description="How often cosine_restarts falls over the run."
    )
    decay_share: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="The last part of the run over which stable_decay falls.",
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

    @property
    def learning_rates(self) -> dict[Part, float]:
        """The full learning rate of each part of the model."""
        return {
            "unet": self.unet_learning_rate,
            "conv": self.conv_learning_rate,
            "text": self.text_learning_rate,
            "word": self.word_learning_rate,
        }

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        rates = {rate for part, rate in self.learning_rates.items() if part != "word"}
        if self.kind == "prodigy":
            if len(rates - {0.0}) > 1 or self.lora_plus_ratio != 1:
                msg = (
                    "prodigy finds one learning rate for all: give all parts the same one (1 is "
                    "usual, 0 switches a part off), and leave lora_plus_ratio at 1"
                )
                raise ValueError(msg)
            if 0 < max(rates) < SMALLEST_PRODIGY_RATE:
                msg = "prodigy multiplies what it finds by the learning rates: set them to 1"
                raise ValueError(msg)
        elif max(self.learning_rates.values()) > 1:
            msg = f"{self.kind} needs learning rates of at most 1"
            raise ValueError(msg)
        if self.kind == "schedule_free":
            if self.schedule != "constant":
                msg = "schedule_free replaces the schedule: set schedule to constant"
                raise ValueError(msg)
            if self.ema_decay:
                msg = "schedule_free averages the weights itself: set ema_decay to 0"
                raise ValueError(msg)
        return self
