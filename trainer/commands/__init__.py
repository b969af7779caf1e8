"""The entry points of the command line: one function per heavy command, each in its own process.

The only heavy package that `app` may import, and only `app.commands`, inside functions.
"""

from trainer.combine import MergeRequest
from trainer.commands.batches import describe_batches, list_batches, write_batches
from trainer.commands.checks import check_before_start
from trainer.commands.combining import (
    bake,
    convert,
    extract,
    measure_file,
    merge,
    resize,
    scale,
)
from trainer.commands.evaluating import EvaluationSettings, evaluate_run
from trainer.commands.files import describe_as_text, describe_file, list_findings, verify_files
from trainer.commands.images import generate_class_images, generate_grid, serve_previews
from trainer.commands.libraries import quiet_libraries, quiet_model_libraries
from trainer.commands.measuring import is_base_model, measure_model
from trainer.commands.memory import estimate_run, probe_run, read_device_bytes
from trainer.commands.models import (
    describe_model,
    download_captioner,
    download_model,
    list_models,
)
from trainer.commands.training import export_checkpoint, train
from trainer.device_kinds import list_device_names, name_devices
from trainer.export import make_civitai_zip, make_hub_folder
from trainer.hub import find_token, upload_hub_folder
from trainer.models.family import GenerationRequest
from trainer.training.expected_header import expect_header
from trainer.training.processes import choose_devices

__all__ = [
    "EvaluationSettings",
    "GenerationRequest",
    "MergeRequest",
    "bake",
    "check_before_start",
    "choose_devices",
    "convert",
    "describe_as_text",
    "describe_batches",
    "describe_file",
    "describe_model",
    "download_captioner",
    "download_model",
    "estimate_run",
    "evaluate_run",
    "expect_header",
    "export_checkpoint",
    "extract",
    "find_token",
    "generate_class_images",
    "generate_grid",
    "is_base_model",
    "list_batches",
    "list_device_names",
    "list_findings",
    "list_models",
    "make_civitai_zip",
    "make_hub_folder",
    "measure_file",
    "measure_model",
    "merge",
    "name_devices",
    "probe_run",
    "quiet_libraries",
    "quiet_model_libraries",
    "read_device_bytes",
    "resize",
    "scale",
    "serve_previews",
    "train",
    "upload_hub_folder",
    "verify_files",
    "write_batches",
]
