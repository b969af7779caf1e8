"""What lies in a dataset's folder and is not used: one line of it, with what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from datasets_tools.captions import normalise_caption
from datasets_tools.errors import show_name
from datasets_tools.formats import IMAGE_SUFFIXES
from datasets_tools.groups import read_repeats
from datasets_tools.metadata import is_metadata
from datasets_tools.sidecars import (
    CAPTION_SUFFIXES,
    MASK_FOLDER,
    Neighbours,
    fold_name,
)

NAMES_SHOWN = 3

# Written by systems and by this program itself; nobody expects them to be used.
_OWN_FILES = {"dataset.json", "thumbs.db", "desktop.ini", "__macosx", "icon\r", "ehthumbs.db"}
_VIDEOS = (".mp4", ".mov", ".webm", ".avi", ".mkv", ".m4v", ".wmv")
_RAW = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".raw", ".pef", ".srw")
_OTHER_IMAGES = (
    ".jxl", ".psd", ".svg", ".ico", ".tga", ".exr", ".jp2", ".xcf", ".kra", ".clip", ".pdf",
    ".eps", ".ppm", ".pgm", ".dds", ".hdr", ".apng",
)  # fmt: skip
_ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".xz", ".bz2")
_CACHES = (".npz", ".npy", ".pt", ".safetensors")


@dataclass(frozen=True)
class _Kind:
    """A kind of leftover: its name for one and for several, and what to do."""

    one: str
    several: str
    remedy: str


_BROKEN = _Kind("broken link", "broken links", "restore what they point to")
_STRAY_TEXT = _Kind(
    "text without an image of its name",
    "texts without an image of their name",
    "name each like its image",
)
_SECOND_TEXT = _Kind(
    "further caption of an image that has one",
    "further captions of images that have one",
    "keep one file per image",
)
_STRAY_MASK = _Kind(
    "mask without its image", "masks without their images", "name each like its image"
)
_ROWS = _Kind(
    "row of a metadata file that names no image here",
    "rows of metadata files that name no image here",
    "correct the names",
)
_OTHER_ROWS = _Kind(
    "row of a metadata file for an image with a text file, which counts",
    "rows of metadata files for images with text files, which count",
    "remove one of the two",
)
_FOLDERS = _Kind(
    "sub-folder with images",
    "sub-folders with images",
    "move their images up, or name them like 1_cat, to use them",
)
_OTHER = _Kind("other file", "other files", "move them away if nothing is missing")
_BY_SUFFIX: tuple[tuple[tuple[str, ...], _Kind], ...] = (
    (_VIDEOS, _Kind("video", "videos", "save single frames as PNG")),
    (_RAW, _Kind("raw camera file", "raw camera files", "develop them to JPEG or PNG")),
    (
        _OTHER_IMAGES,
        _Kind("image of another format", "images of other formats", "save them as PNG"),
    ),
    (_ARCHIVES, _Kind("archive", "archives", "unpack them")),
    (
        _CACHES,
        _Kind("cache of another program", "caches of other programs", "they can be deleted"),
    ),
    (CAPTION_SUFFIXES, _STRAY_TEXT),
)


@dataclass
class _Collection:
    names: dict[_Kind, list[str]] = field(default_factory=dict)

    def add(self, kind: _Kind, *names: str) -> None:
        self.names.setdefault(kind, []).extend(names)


def describe_leftovers(
    neighbours: Neighbours,
    images: Iterable[Path],
    captions: Mapping[str, str],
    paths: Mapping[str, Path] | None = None,
) -> str:
    """Return one line about everything in a folder that is not used; "" where nothing is.

    Args:
        neighbours: What is in the folder.
        images: Its images.
        captions: What each image has, by its name, as far as it can be read.
        paths: Where the files lie, by name, where that is not the folder.
    """
    names, folder = [path.name for path in images], neighbours.folder
    used, leftovers = set(names), _Collection()
    for name in names:
        used |= {*neighbours.list_captions(name)[:1], *neighbours.list_masks(name)}
    for name in names:
        leftovers.add(
            _SECOND_TEXT, *(each for each in neighbours.list_captions(name) if each not in used)
        )
    used.update(leftovers.names.get(_SECOND_TEXT, ()))
    for name in sorted(neighbours.names):
        kind = None if name in used else _find_kind(name, (paths or {}).get(name, folder / name))
        if kind is not None:
            leftovers.add(kind, name)
    leftovers.add(_STRAY_MASK, *_list_stray_masks(folder, names))
    _add_rows(leftovers, neighbours, names, captions)
    return _describe(leftovers, folder.name if read_repeats(folder.name) else "")


def _find_kind(name: str, path: Path) -> _Kind | None:
    """Return what kind of leftover an unused file or folder is; None for what may lie there."""
    suffix = PurePath(name).suffix.lower()
    if name.startswith(".") or name.lower() in _OWN_FILES or is_metadata(name):
        return None
    if path.is_dir():
        is_used = name == MASK_FOLDER or read_repeats(name)
        return None if is_used or not _holds_images(path) else _FOLDERS
    if not path.exists():
        return _BROKEN
    if suffix in IMAGE_SUFFIXES:
        return _STRAY_MASK
    return next((kind for suffixes, kind in _BY_SUFFIX if suffix in suffixes), _OTHER)


def _holds_images(folder: Path) -> bool:
    inside = Neighbours(folder)
    return any(map(inside.is_image, inside.names))


def _list_stray_masks(folder: Path, images: Iterable[str]) -> list[str]:
    stems = {PurePath(name).stem for name in images}
    masks = Neighbours(folder / MASK_FOLDER)
    return [
        f"{MASK_FOLDER}/{name}"
        for name in sorted(masks.names)
        if masks.is_image(name) and PurePath(name).stem not in stems
    ]


def _add_rows(
    leftovers: _Collection,
    neighbours: Neighbours,
    images: Iterable[str],
    captions: Mapping[str, str],
) -> None:
    known = {fold_name(name): name for name in images}
    for key, caption in neighbours.metadata.captions.items():
        name = known.get(key)
        if name is None:
            leftovers.add(_ROWS, neighbours.metadata.names[key])
        elif name in captions and captions[name] != normalise_caption(caption):
            leftovers.add(_OTHER_ROWS, name)


def _describe(leftovers: _Collection, group: str) -> str:
    parts = []
    for kind, names in leftovers.names.items():
        if not names:
            continue
        shown = ", ".join(_show(name) for name in names[:NAMES_SHOWN])
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        title = kind.one if len(names) == 1 else kind.several
        parts.append(f"{len(names)} {title} ({shown}{more}): {kind.remedy}")
    place = f" in {show_name(Path(group))}" if group else ""
    return f"Not used{place}: {'; '.join(parts)}." if parts else ""


def _show(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{show_name(Path(file))}"
