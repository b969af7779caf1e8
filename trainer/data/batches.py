"""Which examples are shown when: a function of the seed and of the position in the run."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from datasets_tools.caption_variants import vary_caption
from trainer.config import DatasetConfig
from trainer.data.placing import EncodedExample
from trainer.seeds import derive_seed


@dataclass(frozen=True)
class Batch:
    """Examples of one bucket that are shown together.

    Attributes:
        indices: Which examples.
        flips: Which of them are mirrored.
        captions: What they are shown with, after dropout and shuffling.
        seeds: One per example, for its noise; no two in a run are the same.
    """

    indices: tuple[int, ...]
    flips: tuple[bool, ...]
    captions: tuple[str, ...]
    seeds: tuple[int, ...]

    def cut(self, start: int, stop: int) -> "Batch":
        """Returns the examples from `start` to before `stop`."""
        return Batch(
            self.indices[start:stop],
            self.flips[start:stop],
            self.captions[start:stop],
            self.seeds[start:stop],
        )

    def split(self, size: int) -> "list[Batch]":
        """Returns its examples in parts of at most this many."""
        return [self.cut(at, at + size) for at in range(0, len(self.indices), size)]


@dataclass(frozen=True)
class BatchPlan:
    """The endless sequence of a run's batches.

    Every bucket has its own endless shuffled stream of its examples, so that batches are always
    full. The bucket whose examples have been shown least comes next, so that over the run each
    example is shown as often as its repeats demand. Nothing depends on the batch size but where the
    stream is cut: four batches of one hold what one batch of four holds, when there is one bucket.
    """

    examples: Sequence[EncodedExample]
    config: DatasetConfig
    batch_size: int
    seed: int

    def read(self, consumed: int) -> Iterator[Batch]:
        """Yields the batches that follow after `consumed` ones."""
        yield from islice(self._read_all(), consumed, None)

    def _read_all(self) -> Iterator[Batch]:
        members: dict[object, list[int]] = {}
        for index, example in enumerate(self.examples):
            members.setdefault(example.bucket, []).extend([index] * example.repeats)
        streams = {
            bucket: self._shuffle_endlessly(indices, str(bucket))
            for bucket, indices in members.items()
        }
        shown = dict.fromkeys(members, 0)
        position = 0
        while True:
            bucket = min(members, key=lambda each: shown[each] / len(members[each]))
            shown[bucket] += self.batch_size
            indices = list(islice(streams[bucket], self.batch_size))
            yield self._make_batch(indices, position)
            position += self.batch_size

    def _shuffle_endlessly(self, indices: list[int], bucket: str) -> Iterator[int]:
        epoch = 0
        while True:
            order = list(indices)
            random.Random(derive_seed(self.seed, "order", bucket, epoch)).shuffle(order)
            yield from order
            epoch += 1

    def _make_batch(self, indices: list[int], position: int) -> Batch:
        flips, captions, seeds = [], [], []
        for offset, index in enumerate(indices):
            seed = derive_seed(self.seed, "example", position + offset)
            rng = random.Random(seed)
            # Always sample all three, so that switching one off does not change the others.
            flip, drop = rng.random() < 0.5, rng.random() < self.config.caption_dropout
            caption = vary_caption(self.examples[index].caption, self.config.variation, rng)
            flips.append(flip and self.config.flip)
            captions.append("" if drop else caption)
            seeds.append(seed)
        return Batch(tuple(indices), tuple(flips), tuple(captions), tuple(seeds))
