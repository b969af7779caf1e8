"""The family in the header of an exported file."""

from collections.abc import Mapping

from trainer.export.errors import ExportError
from trainer.formats.families import FAMILIES, read_version
from trainer.formats.predictions import read_prediction_type


def recognise_family(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Returns the family and the prediction that a file's header names.

    Raises:
        ExportError: the header names none of them.
    """
    stated = read_prediction_type(metadata.get("modelspec.prediction_type", ""))
    family, prediction = read_version(metadata.get("ss_base_model_version", ""))
    if family:
        # Some versions stand for one prediction, but none of them for rectified flow.
        by_version = "" if stated == "flow" else prediction
        return family, by_version or stated or "epsilon"
    for spec in FAMILIES.values():
        for prediction, labels in spec.labels.items():
            if metadata.get("modelspec.architecture") == labels.architecture:
                return spec.name, prediction if stated in {"", "epsilon"} else stated
    msg = (
        "The file's header does not name the family of base models it was made for, so it cannot "
        "be bundled. Bundle the run that made it, or export it again."
    )
    raise ExportError(msg)
