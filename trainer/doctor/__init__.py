"""What of this computer suits training and what does not, each with the remedy. No torch here.

PyTorch and optional parts are looked at in processes of their own: a broken one must neither stop
the check nor slow the app down.
"""

from trainer.doctor.check import Report, check_computer, check_quickly
from trainer.doctor.facts import Device, Facts, Gpu, TorchBuild, Trial, WorkspaceFormat
from trainer.doctor.findings import Finding, list_findings
from trainer.doctor.host import Host
from trainer.doctor.privacy import remove_paths

__all__ = [
    "Device",
    "Facts",
    "Finding",
    "Gpu",
    "Host",
    "Report",
    "TorchBuild",
    "Trial",
    "WorkspaceFormat",
    "check_computer",
    "check_quickly",
    "list_findings",
    "remove_paths",
]
