"""Files for other programs: written, read back, and compared with what was trained.

Adapters pass through here as plain factors, (down, up, scale) per layer name with
delta = scale * up @ down, so that this room does not know the kinds of adapters.
"""

from trainer.export.errors import ExportError
from trainer.export.kohya import Factors, LoRAFile, read_lora, write_lora
from trainer.export.metadata import ExportFacts, make_metadata
from trainer.export.names import to_kohya_name
from trainer.export.verify import RoundTrip, compare_with_trained

__all__ = [
    "ExportError",
    "ExportFacts",
    "Factors",
    "LoRAFile",
    "RoundTrip",
    "compare_with_trained",
    "make_metadata",
    "read_lora",
    "to_kohya_name",
    "write_lora",
]
