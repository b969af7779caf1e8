"""Combining and changing files: merging adapters, baking them into a base model, taking a LoRA out
of two base models, other ranks and strengths.

A floor above the rooms: it uses `adapters`, `export` and `models`. Everything is written layer by
layer, so that full-size files need little memory.
"""

from trainer.combine.bake import bake_files, subtract_files
from trainer.combine.baking import Baking
from trainer.combine.errors import CombineError
from trainer.combine.extract import Extraction, extract_file
from trainer.combine.merge import MergeRequest, merge_files
from trainer.combine.merging import MERGES
from trainer.combine.resize import KeptLayer, resize_file, scale_file
from trainer.combine.similarity import InterferenceReport, LayerInterference
from trainer.combine.singular_values import FileSpectrum, LayerSpectrum, measure_spectrum

__all__ = [
    "MERGES",
    "Baking",
    "CombineError",
    "Extraction",
    "FileSpectrum",
    "InterferenceReport",
    "KeptLayer",
    "LayerInterference",
    "LayerSpectrum",
    "MergeRequest",
    "bake_files",
    "extract_file",
    "measure_spectrum",
    "merge_files",
    "resize_file",
    "scale_file",
    "subtract_files",
]
