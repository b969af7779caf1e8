"""A dataset of several folders: each line names a folder, with how often it is shown in front."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import Example, Finding, scan_folder
from datasets_tools.groups import MOST_REPEATS, read_folder_line


def scan_folders(folder: Path, lines: Sequence[str] = ()) -> tuple[list[Example], list[Finding]]:
    """Return the examples of all folders of a dataset, and findings about the rest.

    Args:
        folder: Its main folder.
        lines: The further ones; see `read_folder_line`.

    Raises:
        DatasetError: A folder is missing, cannot be read, holds no image, or is named twice.
    """
    examples, findings = scan_folder(folder)
    places, labels = {folder.resolve()}, {example.group for example in examples}
    for line in lines:
        path, repeats = read_folder_line(line)
        if path.resolve() in places:
            raise DatasetError(
                f"The folder {show_name(path)} is in the dataset twice. Remove one of its lines of "
                "dataset.folders, and set the number in front of the other."
            )
        places.add(path.resolve())
        label = _choose_label(path.name, labels)
        labels.add(label)
        more, problems = scan_folder(path)
        for each in more:
            group = f"{label}/{each.group}" if each.group else label
            times = min(each.repeats * repeats, MOST_REPEATS)
            examples.append(replace(each, group=group, repeats=times))
        findings += problems
    return examples, findings


def _choose_label(name: str, labels: set[str]) -> str:
    label, number = name, 2
    while label in labels:
        label, number = f"{name} ({number})", number + 1
    return label
