"""Several folders as one dataset, each with how often its images are shown in an epoch.

A sub-folder ``10_cat`` is a group of which every image is shown ten times (kohya's layout); images
in the dataset's folder itself are shown once. The number weights the groups against each other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_tools.disk import rename
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.files import explain_os_error
from datasets_tools.names import explain_path

MOST_REPEATS = 1000

_LINE = re.compile(r"\s*([0-9]{1,6})\s*[x×]\s+(.+)", re.DOTALL)
_GROUP = re.compile(r"([1-9][0-9]{0,3})_(.+)", re.DOTALL)


@dataclass(frozen=True)
class Share:
    """How often a group is shown.

    Attributes:
        group: Name of its sub-folder; "" for the dataset's folder itself.
        images: Number of its images.
        repeats: How often each of them is shown in an epoch.
        share: Of all images shown, 0 .. 1.
    """

    group: str
    images: int
    repeats: int
    share: float


def read_repeats(name: str) -> int:
    """Return the number in the name of a group; 0 for a folder that is no group."""
    match = _GROUP.fullmatch(name)
    repeats = int(match[1]) if match else 0
    return repeats if repeats <= MOST_REPEATS else 0


def is_group(name: str) -> bool:
    """Return whether a name is that of a group, and no path."""
    return read_repeats(name) > 0 and Path(name).name == name and not set(name) & {"/", "\\", "\0"}


def read_title(name: str) -> str:
    """Return the name of a group without its number."""
    match = _GROUP.fullmatch(name)
    return match[2] if match else name


def name_group(title: str, repeats: int) -> str:
    """Return the name of the folder of a group."""
    return f"{repeats}_{title}"


def read_folder_line(line: str) -> tuple[Path, int]:
    """Return the path and the repeats of a line like ``3 x PATH``.

    Without a number it is the one of a name like ``3_cats``, or 1.

    Raises:
        DatasetError: The line is empty, or its number is out of bounds.
    """
    match = _LINE.fullmatch(line)
    text = (match[2] if match else line).strip()
    if not text:
        raise DatasetError("A line of dataset.folders is empty. Name a folder in it or remove it.")
    path = Path(text)
    repeats = int(match[1]) if match else read_repeats(path.name) or 1
    if not 1 <= repeats <= MOST_REPEATS:
        raise DatasetError(
            f"dataset.folders shows {show_name(path)} {repeats} times, but 1 to {MOST_REPEATS} are "
            "possible. Correct the number in front of it."
        )
    return path, repeats


def list_groups(folder: Path) -> list[Path]:
    """Return the groups of a dataset by name; none of a folder that cannot be read."""
    try:
        groups = [path for path in folder.iterdir() if read_repeats(path.name) and path.is_dir()]
    except OSError:
        return []
    return sorted(groups, key=lambda path: (read_title(path.name).casefold(), path.name))


def locate(folder: Path, name: str) -> Path:
    """Return where a file of a dataset lies, also after its group was given another number.

    Args:
        folder: The dataset.
        name: The file's name, below its group where it has one.
    """
    path = folder / name
    group, slash, file = name.rpartition("/")
    if not slash or path.parent.is_dir():
        return path
    same = [each for each in list_groups(folder) if read_title(each.name) == read_title(group)]
    return same[0] / file if same else path


def set_repeats(folder: Path, group: str, repeats: int) -> Path:
    """Rename the folder of a group so that it has another number; return where it is now.

    Raises:
        DatasetError: There is no such group, the number is out of bounds, or it cannot be renamed.
    """
    path = next((each for each in list_groups(folder) if each.name == group), None)
    if path is None:
        raise DatasetError(
            f"There is no folder {show_name(Path(group))} in the dataset. Reload it."
        )
    if not 1 <= repeats <= MOST_REPEATS:
        raise DatasetError(f"Repeats are a number from 1 to {MOST_REPEATS}. Choose such a number.")
    target = path.with_name(name_group(read_title(group), repeats))
    if target == path:
        return path
    if problem := explain_path(target):
        raise DatasetError(problem)
    try:
        if target.exists():
            raise FileExistsError(17, "exists", str(target))
        rename(path, target)
    except OSError as error:
        message = f"{show_name(path)} could not be renamed: {explain_os_error(error)}"
        raise DatasetError(message) from error
    return target


def measure_shares(counts: Sequence[tuple[str, int]]) -> list[Share]:
    """Return how often each group is shown.

    Args:
        counts: Group and repeats of every image.
    """
    total = sum(repeats for _, repeats in counts)
    numbers: dict[tuple[str, int], int] = {}
    for key in counts:
        numbers[key] = numbers.get(key, 0) + 1
    return [
        Share(group, images, repeats, images * repeats / total)
        for (group, repeats), images in numbers.items()
    ]


def describe_share(share: Share) -> str:
    """Return a line of the balance."""
    name = show_name(Path(share.group)) if share.group else "the folder itself"
    images = "1 image" if share.images == 1 else f"{share.images} images"
    return f"{name}: {images} × {share.repeats}, {share.share:.0%} of what is shown"
