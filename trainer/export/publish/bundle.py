"""Everything that goes with a file to where adapters are shared: the Hub, and Civitai."""

import io
import shutil
import zipfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datasets_tools.disk import remove_empty_folder, rename, replace_file, temporary_folder
from datasets_tools.files import explain_write_error
from datasets_tools.names import explain_path
from trainer.export.errors import ExportError
from trainer.export.kohya import Module, write_kohya
from trainer.export.names import name_layers, recognise_layers
from trainer.export.peft import write_peft
from trainer.export.publish.card import PEFT_NAME, write_civitai_form, write_model_card
from trainer.export.publish.publication import Publication, read_publication
from trainer.files.read import AdapterFile, open_header, read_adapter_file
from trainer.files.read.keys import group_keys
from trainer.formats.families import FAMILIES
from trainer.formats.precision import PRECISIONS, name_precision

_IMAGES = "images"
_EMBEDDINGS = "embeddings"  # the name of the folder that it goes to in A1111 and ComfyUI


def make_hub_folder(source: Path, to: Path, base_model: str = "") -> Path:
    """Makes a repository for the Hub: model card, gallery, and the weights in both formats.

    Args:
        source: An exported file, or the run that made it.
        to: The folder to make; it must not exist or be empty.
        base_model: Hub id of the base model, for the card; "" takes the run's where that is one.

    Raises:
        ExportError: there is no such file, the folder is in use, or the disk is full. The folder
            is made aside, so that it is there whole or not at all.
    """
    _check_place(to)
    publication = read_publication(source, base_model)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        msg = f"{to} is not empty. Name a folder that does not exist yet."
        raise ExportError(msg)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(to.parent, ".hub-") as folder:
            aside = folder / to.name
            aside.mkdir()
            formats = _write_formats(publication, aside)
            if publication.embedding:
                shutil.copyfile(publication.embedding, aside / publication.embedding.name)
            card = write_model_card(publication, _copy_images(publication, aside), formats)
            (aside / "README.md").write_text(card, "utf-8")
            if to.exists():
                remove_empty_folder(to)
            rename(aside, to)
    except OSError as error:
        raise ExportError(explain_write_error(to, error)) from error
    return to


def _check_place(to: Path) -> None:
    if problem := explain_path(to):
        raise ExportError(problem)


def make_civitai_zip(source: Path, to: Path) -> Path:
    """Packs a file with its samples and the answers to Civitai's form.

    The samples name the file's hash, by which Civitai links images to models.

    Args:
        source: An exported file, or the run that made it.
        to: The zip file to make.

    Raises:
        ExportError: there is no such file, or the disk is full; a zip that was there before stays.
    """
    _check_place(to)
    publication = read_publication(source)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(to.parent, ".zip-") as folder:
            file = publication.file
            if _is_peft(file):
                file = folder / file.name
                convert_file(publication.file, publication.family, file, "kohya")
            aside = folder / "all.zip"
            _write_zip(aside, file, publication)
            replace_file(aside, to)
    except OSError as error:
        raise ExportError(explain_write_error(to, error)) from error
    return to


def convert_file(source: Path, family: str, to: Path, kind: str) -> None:
    """Writes a plain LoRA file again in the other format, in its own precision.

    Args:
        source: A file in kohya or PEFT format.
        family: Of its base model.
        to: Where to.
        kind: "kohya" or "peft".

    Raises:
        ExportError: the file is damaged, or of a kind that the other format does not hold.
    """
    names = FAMILIES[family].unet.names
    header = open_header(source)
    spellings, _ = group_keys(header.tensors)
    file = read_adapter_file(source, recognise_layers(spellings, names).values(), names)
    modules: dict[str, Module] = {layer: each.parts() for layer, each in file.modules.items()}
    dtypes = {entry.dtype for key, entry in header.tensors.items() if not key.endswith(".alpha")}
    own = name_precision(dtypes.pop()) if len(dtypes) == 1 else ""
    precision = own if own in PRECISIONS else "fp32"
    metadata = _keep_text(file)
    if kind == "peft":
        write_peft(to, modules, metadata, precision)
    else:
        write_kohya(to, modules, name_layers(modules, family, names), metadata, precision)


def _write_formats(publication: Publication, folder: Path) -> set[str]:
    """Writes what formats can hold the file; returns them: "kohya", "peft" or both."""
    kohya, peft = folder / f"{publication.file.stem}.safetensors", folder / PEFT_NAME
    own, other, kind = (kohya, peft, "peft")
    if _is_peft(publication.file):
        own, other, kind = (peft, kohya, "kohya")
    shutil.copyfile(publication.file, own)
    if not _is_plain(publication.file):
        return {"kohya", "peft"} - {kind}
    convert_file(publication.file, publication.family, other, kind)
    return {"kohya", "peft"}


def _write_zip(path: Path, file: Path, publication: Publication) -> None:
    digest = open_header(file).metadata.get("sshs_model_hash", "")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(file, file.name)
        if publication.embedding:
            archive.write(publication.embedding, f"{_EMBEDDINGS}/{publication.embedding.name}")
        archive.writestr("civitai.txt", write_civitai_form(publication, digest))
        for index, image in enumerate(publication.images):
            signed = _sign_image(image, file.stem, digest)
            if signed:
                archive.writestr(f"{_IMAGES}/{index:02d}.png", signed)


def _is_peft(path: Path) -> bool:
    return any(".lora_A." in key for key in open_header(path).tensors)


def _is_plain(path: Path) -> bool:
    groups, _ = group_keys(open_header(path).tensors)
    return all(group.kind == "lora" and not group.has_magnitude for group in groups.values())


def _keep_text(file: AdapterFile) -> dict[str, str]:
    """Returns the header without what belongs to the old tensors."""
    own = {"lora_adapter_metadata", "sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"}
    return {key: value for key, value in file.metadata.items() if key not in own}


def _copy_images(publication: Publication, folder: Path) -> list[tuple[str, str]]:
    """Copies the samples that can be read; returns the place and the prompt of each."""
    copied = []
    for index, path in enumerate(publication.images):
        texts = _read_texts(path)
        if texts is not None:
            (folder / _IMAGES).mkdir(exist_ok=True)
            place = f"{_IMAGES}/{index:02d}.png"
            shutil.copyfile(path, folder / place)
            copied.append((place, texts.get("prompt", "")))
    return copied


def _read_texts(path: Path) -> dict[str, str] | None:
    """Returns the texts in a PNG, or None where it is damaged."""
    try:
        with Image.open(path) as image:
            image.load()
            return {str(key): str(value) for key, value in image.info.items()}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _sign_image(path: Path, name: str, digest: str) -> bytes:
    """Returns a sample whose generation text names the file; nothing where it is damaged."""
    texts = _read_texts(path)
    if texts is None:
        return b""
    parameters = texts.get("parameters", "")
    if parameters and digest:
        parameters += f', Lora hashes: "{name}: {digest[:12]}"'
    info = PngInfo()
    info.add_text("parameters", parameters)
    encoded = io.BytesIO()
    with Image.open(path) as image:
        image.save(encoded, format="PNG", pnginfo=info)
    return encoded.getvalue()
