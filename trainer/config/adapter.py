"""What is trained: the kind of adapter, its size and the layers it sits on."""

from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.config.section import Section


class BlockConfig(Section):
    """Another size or learning rate for the layers whose name fits a pattern."""

    pattern: str = Field(
        min_length=1,
        max_length=200,
        description="Layers by name, with * for anything: `unet.mid_block.*`, `*.attn2.*`.",
    )
    rank: int = Field(
        default=-1,
        ge=-1,
        le=4096,
        description="Size of the adapter there; 0 leaves the layers out, -1 keeps the usual one.",
    )
    alpha: float = Field(
        default=0.0,
        ge=0,
        le=4096,
        description="Strength there; 0 keeps the usual ratio of alpha to rank.",
    )
    rate: float = Field(
        default=1.0, gt=0, le=100, description="Multiplies the learning rate there."
    )


class AdaLoRAConfig(Section):
    """How AdaLoRA takes ranks away from layers that need them least."""

    kept_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="adalora: share of all ranks that is left at the end; rank is the start.",
    )
    warmup_share: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="adalora: first part of the run in which no rank is taken.",
    )
    final_share: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="adalora: last part of the run in which the ranks stay as they are.",
    )
    every_steps: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="adalora: steps between two decisions about the ranks.",
    )
    orthogonality: float = Field(
        default=0.1,
        ge=0,
        le=100,
        description="adalora: how strongly its vectors are kept at right angles.",
    )

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.warmup_share + self.final_share >= 1:
            msg = "warmup_share and final_share leave no steps to move ranks in: lower one of them"
            raise ValueError(msg)
        return self


class AdapterConfig(Section):
    """What is added to the UNet and the text encoders, and how large it is."""

    kind: Literal["lora", "dora", "loha", "lokr", "vera", "adalora"] = Field(
        default="lora",
        description="Algorithm of the adapter. lora, vera and adalora give files that every "
        "program reads; dora, loha and lokr are read by ComfyUI, Forge, A1111 and InvokeAI.",
    )
    rank: int = Field(
        default=16,
        ge=1,
        le=4096,
        description="Size of the adapter on the UNet's attention and feed-forward layers.",
    )
    alpha: float = Field(
        default=8.0,
        gt=0,
        le=4096,
        description="Strength of those layers: the change is multiplied by alpha / rank.",
    )
    scaling: Literal["alpha/rank", "alpha/sqrt(rank)"] = Field(
        default="alpha/rank",
        description="What the change is multiplied by; alpha/sqrt(rank), called rsLoRA, keeps "
        "large ranks from learning slower.",
    )
    conv_rank: int = Field(
        default=8,
        ge=0,
        le=4096,
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
        le=4096,
        description="Size of the adapter on the text encoder; 0 leaves it frozen, which lets its "
        "output be cached.",
    )
    text_alpha: float = Field(
        default=4.0,
        gt=0,
        le=4096,
        description="Strength on the text encoder: text_alpha / text_rank.",
    )
    layers: Literal["all", "attention", "style", "content"] = Field(
        default="all",
        description="Which layers are trained: all; only the attention; or, on SDXL, only the "
        "block that carries the style or the one that carries the content (B-LoRA).",
    )
    blocks: list[BlockConfig] = Field(
        default_factory=list,
        max_length=100,
        description="Other sizes and learning rates for some layers; the first pattern that fits a "
        'layer counts: {pattern = "unet.mid_block.*", rank = 4, alpha = 2.0, rate = 0.5}.',
    )
    word_vectors: int = Field(
        default=0,
        ge=0,
        le=32,
        description="Pivotal tuning: so many vectors learn to stand for the trigger in prompts, "
        "together with the adapter; a file of its own holds them. 0 is off, 1 to 4 are usual.",
    )
    start_from: str = Field(
        default="",
        description="A LoRA file whose weights are the start; its kind and ranks replace those set "
        "here. Empty starts anew.",
    )
    dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Share of each adapter's input that is zeroed at random while training.",
    )
    rank_dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Share of each adapter's ranks that is left out at random while training.",
    )
    module_dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Chance that a layer's adapter is left out for an image while training.",
    )
    max_norm: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="A layer's change whose norm is larger is scaled down to it after each step; 1 "
        "is usual against overcooking, 0 is off.",
    )
    dora_axis: Literal["input", "output"] = Field(
        default="input",
        description="dora: channels that learn a length each. input is read exactly by programs "
        "that read DoRA; output is the paper's, which only diffusers reads (output.formats = "
        "peft).",
    )
    lokr_factor: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="lokr: largest side of its small matrix; 0 makes both matrices about as large, "
        "4 or 8 trains more weights. A rank above the layer's size keeps the large one whole.",
    )
    adalora: AdaLoRAConfig = Field(default_factory=AdaLoRAConfig)

    @property
    def uses_dropout(self) -> bool:
        """Whether any kind of dropout is on."""
        return max(self.dropout, self.rank_dropout, self.module_dropout) > 0

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "dora" and self.max_norm:
            msg = (
                "dora learns the lengths of whole weights, so its change cannot be scaled down: "
                "set max_norm to 0 or choose another kind"
            )
            raise ValueError(msg)
        return self
