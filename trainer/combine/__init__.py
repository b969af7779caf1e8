"""Combining files: merging adapters, baking them into a base model, extracting a LoRA from two
base models, changing ranks and strengths.

A layer above `adapters`, `export` and `models`, which it uses. Everything is written layer by
layer, so that full-size files need little memory.
"""

from trainer.combine.bake import bake_files, subtract_files
from trainer.combine.baking import BakeResult
from trainer.combine.conversion import TARGETS
from trainer.combine.convert import Conversion, convert_file
from trainer.combine.errors import CombineError
from trainer.combine.extract import Extraction, extract_file
from trainer.combine.merge import MergeRequest, merge_files
from trainer.combine.merging import MERGES
from trainer.combine.resize import ResizedLayer, resize_file, scale_file
from trainer.combine.similarity import LayerSimilarity, SimilarityReport
from trainer.combine.singular_values import (
    FileSingularValues,
    LayerSingularValues,
    measure_singular_values,
)

__all__ = [
    "MERGES",
    "TARGETS",
    "BakeResult",
    "CombineError",
    "Conversion",
    "Extraction",
    "FileSingularValues",
    "LayerSimilarity",
    "LayerSingularValues",
    "MergeRequest",
    "ResizedLayer",
    "SimilarityReport",
    "bake_files",
    "convert_file",
    "extract_file",
    "measure_singular_values",
    "merge_files",
    "resize_file",
    "scale_file",
    "subtract_files",
]
