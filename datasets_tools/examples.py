"""From a folder to the examples in it, and to findings about what could not be used."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from datasets_tools import captions
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error
from datasets_tools.formats import FORMAT_NAMES
from datasets_tools.groups import list_groups, read_repeats
from datasets_tools.images import inspect_image
from datasets_tools.leftovers import describe_leftovers
from datasets_tools.prompt_syntax import describe_prompt_syntax
from datasets_tools.sidecars import Neighbours


@dataclass(frozen=True)
class Example:
    """One image with its caption.

    `width` and `height` are those of the upright image. `id` is the fingerprint of the image
    file: it survives moving and renaming, and two identical files in a folder share it. `group` is
    the sub-folder or further folder it lies in (see `groups`), and `repeats` how often it is shown
    in an epoch.
    """

    path: Path
    caption: str
    width: int
    height: int
    id: str
    group: str = ""
    repeats: int = 1

    @property
    def name(self) -> str:
        """Its name, which no other example of its dataset has."""
        return f"{self.group}/{self.path.name}" if self.group else self.path.name

    @property
    def caption_path(self) -> Path:
        """Where the caption lies, whether or not it exists yet."""
        return captions.caption_path(self.path)


@dataclass(frozen=True)
class Finding:
    """One line of the dataset check: what is wrong, in a sentence with its remedy."""

    severity: Literal["error", "warning"]
    code: str
    message: str
    path: Path | None


def scan_folder(folder: Path) -> tuple[list[Example], list[Finding]]:
    """Return the examples of a dataset in natural name order, and findings about the rest.

    Sub-folders like ``10_cat`` are groups of the dataset, behind the images of the folder itself.
    Every image is decoded to its end, so an example that is returned can be trained; files that
    have not changed since the last scan are not read again. What lies in the folder and is not
    used is named in one warning; hidden files are not.

    Raises:
        DatasetError: The folder is missing, cannot be read, or holds no image file at all.
    """
    places = [(_list_folder(folder), "", 1)]
    groups = list_groups(folder)
    places += [(_list_folder(path), path.name, read_repeats(path.name)) for path in groups]
    examples: list[Example] = []
    findings: list[Finding] = []
    count = 0
    for neighbours, name, repeats in places:
        files = _list_images(neighbours)
        count += len(files)
        scanned, problems = _scan_images(neighbours, files)
        examples += [replace(each, group=name, repeats=repeats) for each in scanned]
        findings += problems
    named = ((show_name(each.path), each.caption) for each in examples)
    if syntax := describe_prompt_syntax(named):
        findings.append(Finding("warning", "prompt_syntax", syntax, None))
    if not count:
        leftovers = " ".join(finding.message for finding in findings)
        raise DatasetError(
            f"The folder {show_name(folder)} contains no images. "
            f"Add {FORMAT_NAMES} files to it. {leftovers}".rstrip()
        )
    return examples, findings


def _scan_images(neighbours: Neighbours, files: list[Path]) -> tuple[list[Example], list[Finding]]:
    """Return the examples of one folder, and findings about the rest."""
    examples = []
    findings = [
        Finding("error", "unreadable_metadata", problem, None)
        for problem in neighbours.metadata.problems
    ]
    texts = {}
    for path in files:
        try:
            texts[path.name] = caption = captions.read_caption(path, neighbours)
        except DatasetError as error:
            findings.append(Finding("error", "unreadable_caption", str(error), path))
            caption = ""
        try:
            facts = inspect_image(path)
        except DatasetError as error:
            findings.append(Finding("error", "unreadable_image", str(error), path))
            continue
        examples.append(Example(path, caption, facts.width, facts.height, facts.id))
    findings += _find_shared_captions(files, neighbours)
    if leftovers := describe_leftovers(neighbours, files, texts):
        findings.append(Finding("warning", "leftovers", leftovers, None))
    return examples, findings


def natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that puts image2 before image10, and numbers before letters."""
    parts = [part for part in re.split(r"([0-9]+)", path.stem.casefold()) if part]
    keys = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return keys, path.name


def _list_images(neighbours: Neighbours) -> list[Path]:
    paths = [neighbours.folder / name for name in neighbours.names if neighbours.is_image(name)]
    return sorted((path for path in paths if path.is_file()), key=natural_order)


def _list_folder(folder: Path) -> Neighbours:
    name = show_name(folder)
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {name}. Check the path, or create the folder.")
    try:
        return Neighbours(folder, [path.name for path in folder.iterdir()])
    except OSError as error:
        message = f"The folder {name} cannot be read: {explain_os_error(error)}"
        raise DatasetError(message) from error


def _find_shared_captions(files: list[Path], neighbours: Neighbours) -> list[Finding]:
    """Return a warning for every caption file that two images would share."""
    by_caption: dict[Path, list[Path]] = {}
    for path in files:
        by_caption.setdefault(neighbours.caption_path(path), []).append(path)
    findings = []
    for caption, same in by_caption.items():
        if len(same) > 1:
            names = " and ".join(show_name(path) for path in same)
            message = f"{names} share the caption {show_name(caption)}. Rename one of the images."
            findings.append(Finding("warning", "shared_caption", message, same[-1]))
    return findings
