"""What is shown: examples, their latents, and the order."""

from dataclasses import dataclass

from trainer.data.batches import BatchPlan
from trainer.data.encode import LatentStore
from trainer.data.placing import EncodedExample


@dataclass(frozen=True)
class Source:
    """A dataset in memory: the one that is learned, or the images of its class."""

    examples: list[EncodedExample]
    latents: LatentStore
    plan: BatchPlan
