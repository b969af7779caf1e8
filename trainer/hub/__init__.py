"""The hub: base models and captioners come from there, finished adapters go there.

The only package that uses the network, and only on request. It loads no torch and
imports no other package, so that models and export may both use it.
"""

from trainer.hub.client import HubClient
from trainer.hub.download import Report, download_base_model, download_matching
from trainer.hub.errors import HubError
from trainer.hub.tokens import find_token
from trainer.hub.upload import upload_hub_folder

__all__ = [
    "HubClient",
    "HubError",
    "Report",
    "download_base_model",
    "download_matching",
    "find_token",
    "upload_hub_folder",
]
