"""Reading adapter files of any program: kohya, LyCORIS, diffusers and PEFT.

Nothing of a file is believed before its header is checked, and nothing in it is run.
"""

from trainer.files.read.adapter_file import (
    AdapterFile,
    OpenFile,
    explain_misfit,
    open_adapter_file,
    open_header,
    read_adapter_file,
)

__all__ = [
    "AdapterFile",
    "OpenFile",
    "explain_misfit",
    "open_adapter_file",
    "open_header",
    "read_adapter_file",
]
