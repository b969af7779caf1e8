"""What a run is shown, batch for batch, without a base model in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from PIL import Image

from datasets_tools.examples import Example
from trainer.config import DatasetConfig
from trainer.data.batches import BatchPlan
from trainer.data.placing import EncodedExample, cut_image, cut_mask, place_examples


@dataclass(frozen=True)
class ShownExample:
    """One example as it is shown once.

    Attributes:
        batch: Which of the run's batches, from 0.
        example: The example, with its bucket and cut.
        source: It in its folder.
        flipped: Whether it is mirrored.
        caption: What it is shown with, after dropout and shuffling.
        seed: Of its noise.
    """

    batch: int
    example: EncodedExample
    source: Example
    flipped: bool
    caption: str
    seed: int

    def read_image(self) -> Image.Image:
        """Returns the image as the VAE gets it; raises DatasetError where it cannot be read."""
        return cut_image(self.source, self.example.placement, self.flipped)

    def read_mask(self, config: DatasetConfig) -> Image.Image | None:
        """Returns which part is learned, 8-bit grey, white is learned; None for the whole image.

        Raises:
            DatasetError: the mask cannot be read, or has another shape than the image.
        """
        return cut_mask(self.source, self.example.placement, self.flipped, config.masks)


def list_shown(
    examples: Sequence[Example],
    config: DatasetConfig,
    sizes: tuple[int, int],
    batch_size: int,
    seed: int,
    batches: tuple[int, int],
) -> Iterator[ShownExample]:
    """Yields what some batches of a run hold, in order.

    Args:
        examples: Those that are trained on.
        config: Buckets, trigger, flips, dropout and shuffling.
        sizes: From `choose_sizes`.
        batch_size: Examples of a batch.
        seed: Of the run's order and randomness.
        batches: The first one, from 0, and how many.
    """
    placed = place_examples(examples, config, sizes)
    first, count = batches
    plan = BatchPlan(placed, config, batch_size, seed)
    for number, batch in enumerate(islice(plan.read(first), count), start=first):
        for index, flipped, caption, example_seed in zip(
            batch.indices, batch.flips, batch.captions, batch.seeds, strict=True
        ):
            yield ShownExample(
                number, placed[index], examples[index], flipped, caption, example_seed
            )
