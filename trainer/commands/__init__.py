"""What the command line calls: one function per heavy command, each in a process of its own.

The only room of the heavy ones that `app` may name, and only `app.commands`, inside functions.
"""

from trainer.combine import MergeRequest
from trainer.commands.combining import (
    bake,
    extract,
    measure_file,
    merge,
    resize,
    scale,
)
from trainer.commands.files import describe_file, list_findings, tell_file, verify_files
from trainer.commands.libraries import EXPECTED_ERRORS, quiet_libraries
from trainer.commands.memory import estimate_run, probe_run
from trainer.commands.models import (
    describe_model,
    download_captioner,
    download_model,
    list_models,
)
from trainer.commands.pictures import draw_grid, serve_previews
from trainer.commands.training import export_checkpoint, train
from trainer.export import make_civitai_zip, make_hub_folder
from trainer.hub import find_token, upload_hub_folder
from trainer.models.family import Drawing
from trainer.training.expected_header import expect_header

__all__ = [
    "EXPECTED_ERRORS",
    "Drawing",
    "MergeRequest",
    "bake",
    "describe_file",
    "describe_model",
    "download_captioner",
    "download_model",
    "draw_grid",
    "estimate_run",
    "expect_header",
    "export_checkpoint",
    "extract",
    "find_token",
    "list_findings",
    "list_models",
    "make_civitai_zip",
    "make_hub_folder",
    "measure_file",
    "merge",
    "probe_run",
    "quiet_libraries",
    "resize",
    "scale",
    "serve_previews",
    "tell_file",
    "train",
    "upload_hub_folder",
    "verify_files",
]
