"""What goes with a file to where it is used and shared: images, small files, cards, bundles."""

from trainer.export.publish.bundle import make_civitai_zip, make_hub_folder
from trainer.export.publish.images import find_samples, make_thumbnail
from trainer.export.publish.sidecars import write_sidecars

__all__ = [
    "find_samples",
    "make_civitai_zip",
    "make_hub_folder",
    "make_thumbnail",
    "write_sidecars",
]
