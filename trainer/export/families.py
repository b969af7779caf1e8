"""The family in the header of an exported file."""

from collections.abc import Mapping

from trainer.export.errors import ExportError
from trainer.formats.families import FAMILIES, read_version
from trainer.formats.predictions import read_stated_prediction


def recognise_family(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Returns the family and the prediction that a file's header names.

    Raises:
        ExportError: the header names none of them.
    """
    stated = read_stated_prediction(metadata)
    family, _ = read_version(metadata.get("ss_base_model_version", ""))
    if family:
        return family, stated or "epsilon"
    for spec in FAMILIES.values():
        for prediction, labels in spec.labels.items():
            if metadata.get("modelspec.architecture") == labels.architecture:
                return spec.name, prediction if stated in {"", "epsilon"} else stated
    msg = (
        "The file's header does not name the family of base models it was made for, so it cannot "
        "be bundled. Bundle the run that made it, or export it again."
    )
    raise ExportError(msg)
