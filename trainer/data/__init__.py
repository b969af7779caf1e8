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
    split_examples,
)
from trainer.data.source import Source
from trainer.data.store import LIMIT_BYTES, TensorStore

__all__ = [
    "LIMIT_BYTES",
    "Batch",
    "BatchPlan",
    "CaptionEncoder",
    "EncodedExample",
    "LatentStore",
    "Source",
    "TensorCache",
    "TensorStore",
    "bucket_step_for",
    "encode_examples",
    "read_training_examples",
    "split_examples",
]
