"""What the quality benchmark trains: a preset each, and what is changed in it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A run of the benchmark.

    Attributes:
        title: In the tables.
        preset: What it starts from.
        changes: As for `--set`.
        trigger: A word in every caption of the training and in every prompt.
        flow: Whether the base model is the starter model fine-tuned to predict a rectified flow.
    """

    title: str
    preset: str = "starter-style"
    changes: tuple[str, ...] = ()
    trigger: str = ""
    flow: bool = False


VARIANTS: dict[str, Variant] = {
    "full": Variant("LoRA on everything (the preset)"),
    "unet-only": Variant(
        "LoRA without text and convolutions",
        changes=("adapter.text_rank=0", "adapter.conv_rank=0"),
    ),
    "rslora": Variant(
        "rsLoRA, rank 64",
        changes=(
            "adapter.scaling=alpha/sqrt(rank)",
            "adapter.rank=64",
            "adapter.alpha=4.0",
            "adapter.conv_rank=64",
            "adapter.conv_alpha=4.0",
            "adapter.text_alpha=2.8",
        ),
    ),
    "lora+": Variant(
        "LoRA+, B four times faster than A",
        changes=(
            "optimizer.lora_plus_ratio=4.0",
            "optimizer.unet_learning_rate=3e-4",
            "optimizer.conv_learning_rate=6e-4",
            "optimizer.text_learning_rate=5e-5",
        ),
    ),
    "dora": Variant("DoRA", "starter-dora"),
    "loha": Variant("LoHa", "starter-loha"),
    "lokr": Variant("LoKr", "starter-lokr"),
    "vera": Variant("VeRA", "starter-vera"),
    "adalora": Variant("AdaLoRA", "starter-adalora"),
    "trigger": Variant("LoRA with a trigger word", trigger="inkline"),
    "pivotal": Variant(
        "LoRA with a textual-inversion embedding of 2 vectors",
        changes=("adapter.word_vectors=2", "dataset.class_word=emoji"),
        trigger="inkline",
    ),
    "nf4": Variant("LoRA on a base model in 4 bits", changes=("base_model.quantize=nf4",)),
    "flow": Variant(
        "LoRA on a base model that predicts a flow",
        changes=("objective.weighting=none",),  # as a warning advises for such a model
        flow=True,
    ),
}
