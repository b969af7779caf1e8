"""The addresses under which pages show what `media` serves."""

from urllib.parse import quote

from app.core.lora_files import FileView
from app.core.run_contents import Sample


def thumbnail_url(name: str) -> str:
    """Returns the address of a small copy."""
    return f"/media/thumbnail/{quote(name, safe='')}"


def image_url(dataset: str, key: str) -> str:
    """Returns the address of an image of a dataset."""
    return f"/media/image/{quote(dataset, safe='')}/{quote(key, safe='')}"


def sample_url(run_id: str, sample: Sample) -> str:
    """Returns the address of a sample; it changes when the file does."""
    run = quote(run_id, safe="")
    return f"/media/sample/{run}/{sample.step}/{sample.index}?v={sample.version}"


def preview_url(request_id: str, side: str) -> str:
    """Returns the address of a drawn picture."""
    return f"/media/preview/{quote(request_id, safe='')}/{side}"


def export_url(run_id: str, name: str) -> str:
    """Returns the address of an exported file."""
    return f"/media/export/{quote(run_id, safe='')}/{quote(name, safe='')}"


def file_url(file: FileView) -> str:
    """Returns the address of a LoRA file, exported by a run or brought by a person."""
    if file.run_id:
        return export_url(file.run_id, file.path.name)
    return f"/media/lora/{quote(file.path.name, safe='')}"


def word_url(file: FileView) -> str:
    """Returns the address of the embedding that a run exported with a file."""
    return f"/media/word/{quote(file.run_id, safe='')}/{quote(file.path.name, safe='')}"


def pack_url(file: FileView, kind: str) -> str:
    """Returns the address of what was packed from a file."""
    opened, name = quote(file.run_id or file.id, safe=""), quote(file.path.name, safe="")
    return f"/media/pack/{kind}/{opened}/{name}"
