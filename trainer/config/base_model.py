"""Which Stable Diffusion model is adapted, and how it is held in memory."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.config.section import Section
from trainer.formats.families import FamilyName
from trainer.formats.precision import PrecisionName
from trainer.formats.predictions import PredictionName


class BaseModelConfig(Section):
    """The base model stays frozen; only the adapter is trained."""

    path: str = Field(
        default="",
        description="The base model: a .safetensors file, a folder in the diffusers layout (it "
        "holds model_index.json), or a hub id such as owner/name that was downloaded before.",
    )
    family: Literal["auto", FamilyName] = Field(
        default="auto",
        description="Model family; auto reads it from the shapes of the weights.",
    )
    prediction: Literal["auto", PredictionName] = Field(
        default="auto",
        description="What the base model predicts; auto reads it from its scheduler config or its "
        "file's header. SD 2.1 at 768 pixels and NoobAI-class models predict v; flow is rectified "
        "flow, such as bigASP 2.5.",
    )
    zero_snr: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether the noise schedule ends in pure noise (zero terminal SNR); auto reads "
        "it from the base model. Only for models that predict v.",
    )
    flow_shift: float = Field(
        default=0.0,
        ge=0,
        le=20,
        description="Time-step shift of rectified flow, in training and in samples: above 1 "
        "prefers noisy time steps. 0 takes the base model's own, else 3 for SDXL and 1 for other "
        "families.",
    )
    vae: str = Field(
        default="",
        description="Another VAE than the base model's own: a .safetensors file or a folder; empty "
        "takes the base model's.",
    )
    clip_skip: int = Field(
        default=0,
        ge=0,
        le=12,
        description="Which layer of the text encoder is read, counted from the last: 1 is the "
        "last, 2 the one before it. 0 takes the family's own (SD 1.x and 2.x: 1, SDXL: 2).",
    )
    max_windows: int = Field(
        default=3,
        ge=1,
        le=8,
        description="Longer captions than 75 tokens are read in chunks of 75, at most this many; "
        "what is beyond is left out.",
    )
    attention: Literal["sdpa", "xformers"] = Field(
        default="sdpa",
        description="How attention is computed: sdpa is PyTorch's own, xformers an extra for CUDA.",
    )
    quantize: Literal["none", "fp8", "int8", "nf4"] = Field(
        default="none",
        description="Stores the UNet's weights in fewer bits, which saves memory and costs some "
        "time: fp8 and int8 hold linear and convolution layers in 8 bits, with a scale per output "
        "channel; nf4 holds the linear layers in 4 bits (QLoRA) and needs the extra quantize.",
    )
    offload_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="How many of the UNet's blocks and the text encoders' layers, 0 to 1, wait in "
        "main memory and are copied to the GPU while they are used (block swap): less of the GPU's "
        "memory for slower steps. The blocks are recomputed in the backward pass as with "
        "train.gradient_checkpointing. Without use where the GPU shares the main memory, and not "
        "with nf4.",
    )
    precision: Literal["auto", PrecisionName] = Field(
        default="auto",
        description=(
            "Number format of the frozen weights and of the arithmetic; auto takes bf16 or fp16 "
            "on a GPU that has it and fp32 on a CPU. Adapter weights are always fp32."
        ),
    )

    @model_validator(mode="after")
    def _check_offload(self) -> Self:
        if self.offload_fraction and self.quantize == "nf4":
            msg = (
                "layers in nf4 are packed on the GPU and stay there, so they cannot wait in main "
                "memory: set base_model.quantize to fp8, or base_model.offload_fraction to 0"
            )
            raise ValueError(msg)
        return self
