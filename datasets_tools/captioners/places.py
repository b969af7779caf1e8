"""Where the captioners' models lie.

WORKSPACE/captioners/
  NAME/                    the model that a captioner of the table names
  OWNER--NAME/             another one from the hub
  .partial/                downloads that are not complete yet
examples/starter-model/captioner/        what comes along with Lorasmith
"""

from pathlib import Path

from datasets_tools.captioners.table import find_captioner
from datasets_tools.errors import DatasetError
from datasets_tools.shipped import EXAMPLES

SHIPPED_FOLDER = EXAMPLES / "starter-model" / "captioner"


def place_model(name: str, workspace: Path, entry: str = "") -> Path:
    """Returns where a captioner's model lies, or would lie once it is downloaded.

    Args:
        name: Of the captioner.
        workspace: The folder of datasets, runs and models.
        entry: The folder's name where it is another model than the captioner's own.

    Raises:
        DatasetError: there is no such captioner.
    """
    captioner = find_captioner(name)
    if entry:
        return workspace / "captioners" / entry
    return workspace / "captioners" / name if captioner.model else SHIPPED_FOLDER


def is_available(name: str, workspace: Path) -> bool:
    """Whether a captioner's own model is there; a download appears only when it is complete."""
    return place_model(name, workspace).is_dir()


def find_model(name: str, workspace: Path, path: Path | None = None) -> Path:
    """Returns the folder of a captioner's model.

    Args:
        name: Of the captioner.
        workspace: The folder of datasets, runs and models.
        path: A folder that a person gives instead.

    Raises:
        DatasetError: it is not there, with its size, its licence and the command that fetches it.
    """
    place = path or place_model(name, workspace)
    if place.is_dir():
        return place
    if path is not None:
        msg = f"There is no folder {path} with a captioner. Check the path, or leave out --model."
        raise DatasetError(msg)
    captioner = find_captioner(name)
    if not captioner.model:
        msg = (
            f"The captioner {name} is missing in {place}. It comes along with Lorasmith: "
            "install it again, or choose another captioner."
        )
        raise DatasetError(msg)
    msg = (
        f"The captioner {name} is not here yet. {captioner.model} has "
        f"{captioner.size} under the licence {captioner.licence}; "
        f"`lorasmith caption DATASET --captioner {name} --download` fetches it."
    )
    raise DatasetError(msg)
