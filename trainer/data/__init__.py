"""From a folder of examples to batches: encoded once, cached by content, reproducible."""

from trainer.data.batches import Batch, BatchPlan
from trainer.data.cache import TensorCache
from trainer.data.conditioning import CaptionEncoder
from trainer.data.encode import (
    EncodedExample,
    LatentStore,
    bucket_step_for,
    encode_examples,
    read_training_examples,
)
from trainer.data.source import Source

__all__ = [
    "Batch",
    "BatchPlan",
    "CaptionEncoder",
    "EncodedExample",
    "LatentStore",
    "Source",
    "TensorCache",
    "bucket_step_for",
    "encode_examples",
    "read_training_examples",
]
