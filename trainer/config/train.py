"""Length and shape of the run."""

from typing import Literal

from pydantic import Field

from trainer.config.section import Section

Recompute = Literal["nothing", "activations", "feed_forward"]


class TrainConfig(Section):
    """Steps, batch size and memory savers."""

    steps: int = Field(
        default=1000, ge=1, le=1_000_000, description="Optimiser updates of the run."
    )
    batch_size: int = Field(default=2, ge=1, le=256, description="Images that are shown together.")
    micro_batch: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Images of a batch that are computed at once: the same update in less memory, "
        "a little slower. 0 takes the whole batch. A run that runs out of memory lowers it itself.",
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Batches per optimiser update: the effect of a larger batch in less memory.",
    )
    processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that compute a step together, each with its share of the images: "
        "the same update but for rounding. On a CPU each has its share of the cores, on CUDA a "
        "GPU of its own. At most one for each image of an update. 0 takes one, and on a CPU with a "
        "small base model one for each core; the number stands in the run's settings.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute instead of remember: far less memory for about a third more time.",
    )
    checkpointing_fraction: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="How many of the UNet's blocks gradient checkpointing recomputes, 0 to 1, "
        "those first that save most memory for their time.",
    )
    recompute: Recompute = Field(
        default="nothing",
        description="What the UNet's backward pass computes again instead of keeping, with the "
        "same result. activations: outputs of norms, SiLU and gates, for a few per cent of the "
        "time; feed_forward: the inner product of feed-forward layers as well, an eighth more "
        "arithmetic on SDXL. Beside dropout feed_forward does what activations does.",
    )
    recoveries: int = Field(
        default=2,
        ge=0,
        le=10,
        description="How often a run whose loss is no number any more, or more than ten times what "
        "it was, goes back to its last checkpoint and on with half the learning rates, rather than "
        "fail.",
    )
    memory: Literal["auto", "exact", "off"] = Field(
        default="auto",
        description="What happens where a run needs more memory than its GPU has free: auto has it "
        "save memory by settings that are left at their defaults, the fastest first: recompute, "
        "gradient_checkpointing, micro_batch, base_model.quantize, base_model.offload_fraction. "
        "exact leaves out quantize, the only one that changes the result. off changes nothing. "
        "What was chosen stands in the run's settings, with off.",
    )
    offload: bool = Field(
        default=True,
        description="Text encoders and VAE wait in main memory while they are not needed, which "
        "leaves more of the GPU's memory to the training.",
    )
    seed: int = Field(
        default=42, ge=0, le=2**31 - 1, description="Start of every random number of the run."
    )
    log_every_steps: int = Field(
        default=5, ge=1, le=10_000, description="Steps between two points of the loss chart."
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="Where to train: auto, cpu, cuda, cuda:1 or mps.",
    )
