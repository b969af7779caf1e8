"""The files of the starter captioner.

captioner.json        {"kind": ..., "widths": [...], "labels": ["a cat face", ...],
                       "colours": {"red": [214, 40, 40], ...}, "threshold": 0.4}
model.safetensors     the network's weights, fp16
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_tools.errors import DatasetError, show_name

KIND = "lorasmith starter captioner 1"
DESCRIPTION, WEIGHTS = "captioner.json", "model.safetensors"


@dataclass(frozen=True)
class StarterDescription:
    """What stands beside the weights.

    Attributes:
        widths: Channels of the network, by resolution.
        labels: The classes, with articles, in the order of its outputs.
        colours: Names of background colours, with red, green and blue in 0 .. 255.
        threshold: How probable a label must be to be used, 0 .. 1.
    """

    widths: tuple[int, ...]
    labels: tuple[str, ...]
    colours: Mapping[str, tuple[int, int, int]]
    threshold: float

    def to_json(self) -> str:
        """Returns the content of `captioner.json`."""
        content = {
            "kind": KIND,
            "widths": self.widths,
            "threshold": self.threshold,
            "colours": self.colours,
            "labels": self.labels,
        }
        return json.dumps(content, indent=1) + "\n"


def read_description(folder: Path) -> StarterDescription:
    """Returns what stands beside the weights.

    Raises:
        DatasetError: it is missing, damaged, or of something else.
    """
    path = folder / DESCRIPTION
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != KIND:
            msg = f"{show_name(folder)} holds another kind of captioner than {KIND!r}."
            raise DatasetError(f"{msg} Choose the folder of a starter captioner.")
        colours = {
            str(name): (int(red), int(green), int(blue))
            for name, (red, green, blue) in content["colours"].items()
        }
        return StarterDescription(
            widths=tuple(int(width) for width in content["widths"]),
            labels=tuple(str(label) for label in content["labels"]),
            colours=colours,
            threshold=float(content["threshold"]),
        )
    except FileNotFoundError as error:
        msg = f"There is no {DESCRIPTION} in {show_name(folder)}. Choose a captioner's folder."
        raise DatasetError(msg) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise explain_damage(path) from error


def explain_damage(path: Path) -> DatasetError:
    """Returns the error for a file that cannot be read."""
    return DatasetError(
        f"{show_name(path)} of the starter captioner is damaged. It comes along with Lorasmith: "
        "install it again."
    )
