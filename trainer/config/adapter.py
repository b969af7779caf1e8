"""What is trained: the kind of adapter, its size and the layers it sits on."""

from typing import Literal

from pydantic import Field

from trainer.config.section import Section


class AdapterConfig(Section):
    """LoRA on the UNet's attention, feed-forward and convolution layers and on the text encoder."""

    kind: Literal["lora"] = Field(default="lora", description="Algorithm of the adapter.")
    rank: int = Field(
        default=16,
        ge=1,
        le=512,
        description="Size of the adapter on the UNet's attention and feed-forward layers.",
    )
    alpha: float = Field(
        default=8.0,
        gt=0,
        le=4096,
        description="Strength of those layers: the change is multiplied by alpha / rank.",
    )
    conv_rank: int = Field(
        default=8,
        ge=0,
        le=512,
        description="Size of the adapter on 3x3 convolutions; 0 leaves all of the resnet, "
        "down-sampling and up-sampling layers alone.",
    )
    conv_alpha: float = Field(
        default=4.0,
        gt=0,
        le=4096,
        description="Strength on 3x3 convolutions: conv_alpha / conv_rank.",
    )
    text_rank: int = Field(
        default=8,
        ge=0,
        le=512,
        description="Size of the adapter on the text encoder; 0 leaves it frozen, which lets its "
        "output be cached.",
    )
    text_alpha: float = Field(
        default=4.0,
        gt=0,
        le=4096,
        description="Strength on the text encoder: text_alpha / text_rank.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Share of each adapter's input that is zeroed at random while training.",
    )
