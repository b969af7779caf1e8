"""Runs as folders: the trainer writes plain files, everyone else reads them.

Status is derived from the files and never stored; there is no other database. No torch here.
"""

from trainer.runs.control import (
    clear_requests,
    read_age,
    read_request_lines,
    read_requests,
    request,
)
from trainer.runs.ending import end_run, wait_for_end
from trainer.runs.errors import RunError, RunWriteError
from trainer.runs.events import EventReader, append_event, read_events
from trainer.runs.folder import (
    Checkpoint,
    RunFolder,
    create_run,
    list_runs,
    open_run,
    save_config,
)
from trainer.runs.listing import RunListing
from trainer.runs.ownership import is_owned, own_folder
from trainer.runs.previews import (
    AdapterChoice,
    PreviewFolder,
    PreviewProgress,
    PreviewRequest,
    PreviewResult,
    read_result,
    request_preview,
)
from trainer.runs.process import Owner, describe_process, find_owner, is_alive, read_owner, spawn
from trainer.runs.status import (
    EventSummary,
    RunStatus,
    derive_status,
    explain_resume,
    explain_unreadable,
    read_status,
)

__all__ = [
    "AdapterChoice",
    "Checkpoint",
    "EventReader",
    "EventSummary",
    "Owner",
    "PreviewFolder",
    "PreviewProgress",
    "PreviewRequest",
    "PreviewResult",
    "RunError",
    "RunFolder",
    "RunListing",
    "RunStatus",
    "RunWriteError",
    "append_event",
    "clear_requests",
    "create_run",
    "derive_status",
    "describe_process",
    "end_run",
    "explain_resume",
    "explain_unreadable",
    "find_owner",
    "is_alive",
    "is_owned",
    "list_runs",
    "open_run",
    "own_folder",
    "read_age",
    "read_events",
    "read_owner",
    "read_request_lines",
    "read_requests",
    "read_result",
    "read_status",
    "request",
    "request_preview",
    "save_config",
    "spawn",
    "wait_for_end",
]
