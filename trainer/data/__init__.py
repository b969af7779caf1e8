"""From a folder of examples to batches: encoded once, cached by content, reproducible."""

from trainer.data.batches import Batch, BatchPlan
from trainer.data.cache import TensorCache
from trainer.data.conditioning import CaptionEncoder
from trainer.data.encode import (
    LatentStore,
    encode_examples,
    read_training_examples,
    split_examples,
)
from trainer.data.placing import (
    EncodedExample,
    choose_sizes,
    cut_image,
    cut_mask,
    place_examples,
)
from trainer.data.shown import ShownExample, list_shown
from trainer.data.source import Source
from trainer.data.store import LIMIT_BYTES, TensorStore

__all__ = [
    "LIMIT_BYTES",
    "Batch",
    "BatchPlan",
    "CaptionEncoder",
    "EncodedExample",
    "LatentStore",
    "ShownExample",
    "Source",
    "TensorCache",
    "TensorStore",
    "choose_sizes",
    "cut_image",
    "cut_mask",
    "encode_examples",
    "list_shown",
    "place_examples",
    "read_training_examples",
    "split_examples",
]
