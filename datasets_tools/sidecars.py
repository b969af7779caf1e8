"""Which files of a folder belong to its images: captions and masks, by their names.

A caption is a text file of its image's name: ``a.txt``, else ``a.caption`` (kohya), else
``a.png.txt``, in any case of letters; without one, a row of ``metadata.jsonl`` or ``.csv`` counts.
A mask is ``a-masklabel.png`` (OneTrainer) beside ``a.png``, or ``masks/a.png``.
"""

import functools
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath

from datasets_tools.formats import IMAGE_SUFFIXES
from datasets_tools.metadata import Metadata, is_metadata, read_metadata

CAPTION_SUFFIX = ".txt"
CAPTION_SUFFIXES = (CAPTION_SUFFIX, ".caption")
MASK_FOLDER = "masks"
MASK_ENDING = "-masklabel"


def caption_path(image_path: Path) -> Path:
    """Return where the caption of an image is written: its text file, else ``.txt`` beside it."""
    path = _name_caption(image_path)
    return path if path.is_file() else Neighbours(image_path.parent).caption_path(image_path)


def fold_name(name: str) -> str:
    """Return what two spellings of a file name share, in case of letters and in accents."""
    return unicodedata.normalize("NFC", name).casefold()


class Neighbours:
    """The files of a folder, as far as they belong to its images.

    Args:
        folder: The folder; one that cannot be read has no files.
        names: What is in it, where that is known already.
        metadata: What its metadata files hold, where they lie elsewhere.
    """

    def __init__(
        self,
        folder: Path,
        names: Iterable[str] | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        self.folder, self._metadata = folder, metadata
        self.names = list(_list_names(folder) if names is None else names)
        self._by_fold: dict[str, list[str]] = {}
        for name in self.names:
            self._by_fold.setdefault(fold_name(name), []).append(name)
        images = [name for name in self.names if _has_image_suffix(name)]
        self._stems = {PurePath(name).stem for name in images}
        self._folded_stems = {fold_name(stem) for stem in self._stems}

    @functools.cached_property
    def metadata(self) -> Metadata:
        """The captions in the folder's metadata files."""
        if self._metadata is not None:
            return self._metadata
        return read_metadata([self.folder / name for name in self.names if is_metadata(name)])

    def is_image(self, name: str) -> bool:
        """Return whether a file is an image by its name, and no mask of another one."""
        return _has_image_suffix(name) and not self.is_mask(name)

    def is_mask(self, name: str) -> bool:
        """Return whether a file is the mask of an image beside it."""
        owner, ending, rest = fold_name(PurePath(name).stem).rpartition(MASK_ENDING)
        return bool(ending) and not rest and _has_image_suffix(name) and owner in self._folded_stems

    def caption_path(self, image_path: Path) -> Path:
        """Return what the function of this name does, for an image of the folder."""
        captions = self.list_captions(image_path.name)
        return image_path.with_name(captions[0]) if captions else _name_caption(image_path)

    def list_captions(self, image: str) -> list[str]:
        """Return the text files of an image's name; the first one counts."""
        stem = PurePath(image).stem
        names = [f"{start}{suffix}" for start in (stem, image) for suffix in CAPTION_SUFFIXES]
        return list(dict.fromkeys(match for name in names for match in self._find(name, stem)))

    def list_masks(self, image: str) -> list[str]:
        """Return the masks of an image's name beside it."""
        start = fold_name(PurePath(image).stem + MASK_ENDING)
        endings = sorted(IMAGE_SUFFIXES)
        return [name for end in endings for name in self._by_fold.get(f"{start}{end}", ())]

    def find_metadata(self, image: str) -> str | None:
        """Return the caption of an image in the metadata files; None where they have none."""
        return self.metadata.captions.get(fold_name(image))

    def _find(self, name: str, stem: str) -> list[str]:
        """Return the files of a name: as it is spelt, else in another spelling no other has."""
        known = self._by_fold.get(fold_name(name), [])
        if name in known:
            return [name]
        return [each for each in known if not self._belongs_to_another(each, stem)]

    def _belongs_to_another(self, caption: str, stem: str) -> bool:
        own = PurePath(caption).stem
        return own != stem and own in self._stems


def _name_caption(image_path: Path) -> Path:
    return image_path.with_suffix(CAPTION_SUFFIX)


def _has_image_suffix(name: str) -> bool:
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - the names are all that counts
    except OSError:
        return []
