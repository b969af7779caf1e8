"""Taking images into a dataset together with their captions and masks, from whatever they lie in.

Images, loose or in folders, and zip archives become sources: files with the names that they had
relative to each other. Folders of a tree become groups of the dataset with their repeats (see
`groups`); a single folder is taken into the dataset's own.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets_tools.archive import is_zip, unpack_zip
from datasets_tools.captions import (
    normalise_caption,
    read_caption,
    read_caption_text,
    write_caption,
)
from datasets_tools.disk import temporary_folder
from datasets_tools.errors import DatasetError, LorasmithError
from datasets_tools.groups import is_group, list_groups, name_group, read_repeats, read_title
from datasets_tools.image_import import import_new_image, make_stem
from datasets_tools.leftovers import describe_leftovers
from datasets_tools.masks import find_mask, import_mask
from datasets_tools.metadata import Metadata, is_metadata, read_metadata
from datasets_tools.names import change_name
from datasets_tools.sidecars import CAPTION_SUFFIXES, MASK_FOLDER, Neighbours, fold_name


class Source(NamedTuple):
    """A file to take in: where it lies, and the name it has in its folder or archive."""

    path: Path
    name: str


@dataclass
class Intake:
    """What was taken in.

    Attributes:
        images: Where the new images lie.
        known: Number of images that the dataset had already.
        captions: Number of captions that came along.
        masks: Number of masks that came along.
        refused: A sentence for each file that cannot be used.
        unused: A line per folder about files that are not used.
    """

    images: list[Path] = field(default_factory=list)
    known: int = 0
    captions: int = 0
    masks: int = 0
    refused: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


Check = Callable[[Path], None]


def list_sources(paths: Sequence[Path]) -> list[Source]:
    """Return the files of paths that a person named: files, and folders with all in them.

    Hidden files are left out, and links to folders are not followed.
    """
    sources = []
    for path in paths:
        if not path.is_dir():
            sources.append(Source(path, path.name))
            continue
        root = path.resolve()
        for parent, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            place = Path(parent).relative_to(root.parent).as_posix()
            names = sorted(name for name in files if not _is_hidden(name))
            sources += [Source(Path(parent, name), f"{place}/{name}") for name in names]
    return sources


def take_in(sources: Sequence[Source], dataset: Path, check: Check = lambda _path: None) -> Intake:
    """Take files into a dataset; what cannot be used is reported and does not stop the rest.

    Args:
        sources: The files.
        dataset: The dataset's folder.
        check: Called with each image before it is taken in; raises where it may not be.
    """
    intake = Intake()
    dataset.mkdir(parents=True, exist_ok=True)
    with temporary_folder(dataset, ".aside-") as aside:
        loose = []
        for number, source in enumerate(sources):
            if is_zip(source.path):
                place = aside / str(number)
                place.mkdir()
                _take_zip(source, place, dataset, check, intake)
            else:
                loose.append(source)
        _take_tree(loose, dataset, check, intake)
    return intake


def _take_zip(source: Source, place: Path, dataset: Path, check: Check, intake: Intake) -> None:
    try:
        unpacked = unpack_zip(source.path, place)
    except DatasetError as error:
        intake.refused.append(str(error))
        return
    _take_tree([Source(path, name) for name, path in unpacked], dataset, check, intake)


def _take_tree(sources: Sequence[Source], dataset: Path, check: Check, intake: Intake) -> None:
    """Take in files that belong together, folder by folder."""
    folders: dict[str, dict[str, Path]] = {}
    for source in sources:
        place, _, name = source.name.rpartition("/")
        folders.setdefault(place, {})[name] = source.path
    masks = {
        place: folders.pop(f"{place}/{MASK_FOLDER}".lstrip("/"), {})
        for place in list(folders)
        if PurePosixPath(place).name != MASK_FOLDER
    }
    tables = {place: _read_tables(files) for place, files in folders.items()}
    with_images = [place for place, files in folders.items() if _has_images(files)]
    groups = _choose_groups(with_images, dataset)
    for place in sorted(folders):
        metadata = _find_metadata(place, folders[place], tables)
        folder = _Folder(folders[place], masks.get(place, {}), metadata)
        folder.take(dataset / groups.get(place, ""), check, intake)


@dataclass
class _Folder:
    """The files of one source folder by name, its masks by name, and its metadata."""

    files: dict[str, Path]
    masks: dict[str, Path]
    metadata: Metadata

    def take(self, target: Path, check: Check, intake: Intake) -> None:
        """Take all images of the folder into the target, each with its caption and mask."""
        neighbours = Neighbours(Path(), self.files, self.metadata)
        images = [name for name in self.files if neighbours.is_image(name)]
        texts: dict[str, str] = {}
        for name in sorted(images):
            try:
                path, is_new = self._take_image(name, target, check, intake)
                texts[name] = caption = self._read_caption(name, neighbours)
                if caption and (is_new or not read_caption(path)):
                    write_caption(path, caption)
                    intake.captions += 1
                self._take_mask(name, neighbours, path, intake)
            except LorasmithError as error:
                intake.refused.append(str(error))
        intake.refused += self.metadata.problems
        used = self._take_late_captions(neighbours, images, target, intake)
        rest = {name: path for name, path in self.files.items() if name not in used}
        left = Neighbours(Path(), rest, self.metadata)
        if line := describe_leftovers(left, [Path(name) for name in images], texts, rest):
            intake.unused.append(line)

    def _take_image(
        self, name: str, target: Path, check: Check, intake: Intake
    ) -> tuple[Path, bool]:
        source = self.files[name]
        check(source)
        path, is_new = import_new_image(source, target, PurePosixPath(name).stem)
        if is_new:
            intake.images.append(path)
        else:
            intake.known += 1
        return path, is_new

    def _read_caption(self, name: str, neighbours: Neighbours) -> str:
        files = neighbours.list_captions(name)
        text = read_caption_text(self.files[files[0]]) if files else None
        if text is None:
            text = neighbours.find_metadata(name)
        return normalise_caption(text or "")

    def _take_mask(self, name: str, neighbours: Neighbours, image: Path, intake: Intake) -> None:
        stem = fold_name(PurePosixPath(name).stem)
        inside = [path for mask, path in self.masks.items() if fold_name(Path(mask).stem) == stem]
        beside = [self.files[mask] for mask in neighbours.list_masks(name)]
        for mask in (inside + beside)[:1]:
            if find_mask(image) is None:
                import_mask(mask, image)
                intake.masks += 1

    def _take_late_captions(
        self, neighbours: Neighbours, images: Sequence[str], target: Path, intake: Intake
    ) -> set[str]:
        """Write texts whose images the dataset has already; return their names."""
        own = {text for name in images for text in neighbours.list_captions(name)}
        there = Neighbours(target)
        known = {fold_name(Path(name).stem): name for name in there.names if there.is_image(name)}
        used = set()
        for name, path in self.files.items():
            stem = _find_caption_stem(name)
            # Images were given plain names when they were taken in.
            image = known.get(fold_name(make_stem(stem))) if stem and name not in own else None
            if image is None or read_caption(target / image):
                continue
            try:
                write_caption(target / image, read_caption_text(path) or "")
            except DatasetError as error:
                intake.refused.append(str(error))
            used.add(name)
            intake.captions += 1
        return used


def _find_caption_stem(name: str) -> str:
    """Return the image's name or stem that a text file is called after; "" for another file."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in CAPTION_SUFFIXES else ""


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _has_images(files: Iterable[str]) -> bool:
    neighbours = Neighbours(Path(), files)
    return any(map(neighbours.is_image, neighbours.names))


def _read_tables(files: Mapping[str, Path]) -> Metadata:
    return read_metadata([path for name, path in sorted(files.items()) if is_metadata(name)])


def _find_metadata(place: str, files: Iterable[str], tables: Mapping[str, Metadata]) -> Metadata:
    """Return the rows about the files of a folder: its own, and those of folders above it."""
    own = tables.get(place, Metadata())
    captions, names = dict(own.captions), dict(own.names)
    for above in PurePosixPath(place).parents if place else ():
        table = tables.get("" if str(above) == "." else str(above))
        prefix = PurePosixPath(place).relative_to(above).as_posix()
        for name in files if table else ():
            key = fold_name(f"{prefix}/{name}")
            if table and key in table.captions:
                captions.setdefault(fold_name(name), table.captions[key])
                names.setdefault(fold_name(name), name)
    below = {key for key in own.captions if "/" in key}  # they are about folders below this one
    rows = {key: text for key, text in captions.items() if key not in below}
    return Metadata(rows, names, own.problems)


def _choose_groups(places: Sequence[str], dataset: Path) -> dict[str, str]:
    """Return for each folder with images its group in the dataset; "" for the dataset's own."""
    known = {read_title(path.name): path.name for path in list_groups(dataset)}
    single = len(places) == 1
    common = os.path.commonpath([place or "." for place in places]) if places else ""
    groups: dict[str, str] = {}
    taken: set[str] = set()
    for place in places:
        path = PurePosixPath(place)
        if not is_group(path.name) and (single or place == common or not place):
            groups[place] = ""
            continue
        inside = path.relative_to(common) if common and not single else PurePosixPath(path.name)
        titles = [read_title(path.name), "-".join(inside.parts), "-".join(path.parts)]
        titles = [change_name(title, "folder") for title in titles]
        if not is_group(path.name):
            titles = titles[1:]
        title = next((title for title in titles if title not in taken), titles[-1])
        taken.add(title)
        repeats = read_repeats(path.name) or 1
        groups[place] = known.get(title) or name_group(title, repeats)
    return groups
