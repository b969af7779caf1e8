"""Which Stable Diffusion model is adapted, and how it is held in memory."""

from typing import Literal

from pydantic import Field

from trainer.config.section import Section


class BaseModelConfig(Section):
    """The base model stays frozen; only the adapter is trained."""

    path: str = Field(
        default="",
        description="Folder of the base model in the diffusers layout (it holds model_index.json).",
    )
    family: Literal["auto", "sd15", "sd2"] = Field(
        default="auto",
        description="Model family; auto reads it from the width of the text conditioning.",
    )
    prediction: Literal["auto", "epsilon", "v_prediction"] = Field(
        default="auto",
        description="What the base model predicts; auto reads it from its scheduler config.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description=(
            "Number format of the frozen weights and of the arithmetic; auto takes bf16 or fp16 "
            "on a GPU that has it and fp32 on a CPU. Adapter weights are always fp32."
        ),
    )
