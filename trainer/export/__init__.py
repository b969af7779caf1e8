"""Files for other programs: written, read back, and compared with what was trained.

Adapters pass through here as plain tensors: (down, up, scale) per layer name with
delta = scale * up @ down, or the parts of another kind by their names in files. So this package
reads and writes every kind without knowing what it computes.
"""

from trainer.export.embedding import order_vectors, read_embedding, write_embedding
from trainer.export.errors import ExportError
from trainer.export.kohya import Factors, Module, write_kohya
from trainer.export.metadata import ExportFacts, make_metadata
from trainer.export.names import name_layers, recognise_layers
from trainer.export.network import measure_network
from trainer.export.peft import fits_peft, write_peft
from trainer.export.privacy import name_base_model, read_settings
from trainer.export.publish import (
    find_samples,
    make_civitai_zip,
    make_hub_folder,
    make_thumbnail,
    write_sidecars,
)
from trainer.export.roundtrip import RoundTrip, compare_with_trained
from trainer.files.inspect import inspect_file
from trainer.files.inspection import Inspection
from trainer.files.read import AdapterFile, explain_misfit, read_adapter_file
from trainer.files.read.file_module import FileModule
from trainer.files.verify import verify_file
from trainer.files.verify.facts import BaseLayers
from trainer.files.verify.findings import Finding

__all__ = [
    "AdapterFile",
    "BaseLayers",
    "ExportError",
    "ExportFacts",
    "Factors",
    "FileModule",
    "Finding",
    "Inspection",
    "Module",
    "RoundTrip",
    "compare_with_trained",
    "explain_misfit",
    "find_samples",
    "fits_peft",
    "inspect_file",
    "make_civitai_zip",
    "make_hub_folder",
    "make_metadata",
    "make_thumbnail",
    "measure_network",
    "name_base_model",
    "name_layers",
    "order_vectors",
    "read_adapter_file",
    "read_embedding",
    "read_settings",
    "recognise_layers",
    "verify_file",
    "write_embedding",
    "write_kohya",
    "write_peft",
    "write_sidecars",
]
