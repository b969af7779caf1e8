"""What a base model predicts: the kinds, and how headers spell them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trainer.formats.families import read_version

PredictionName = Literal["epsilon", "v_prediction", "flow"]


@dataclass(frozen=True)
class PredictionSpec:
    """One kind of prediction.

    Attributes:
        name: In settings.
        title: In sentences, after "predicts".
        stated: `modelspec.prediction_type`. ModelSpec names the first two; for rectified flow
            files have "rectified_flow".
        spelling: A pattern for what headers and scheduler configs call it, in small letters.
        hint: A pattern for a file's name or title that suggests it; "" for none.
    """

    name: PredictionName
    title: str
    stated: str
    spelling: str
    hint: str = ""


_ROWS = (
    PredictionSpec("epsilon", "the noise", "epsilon", r"eps(ilon)?"),
    PredictionSpec("v_prediction", "v", "v", r"v([-_ ]?pred(iction)?)?|velocity", r"v[-_ ]?pred"),
    PredictionSpec(
        "flow",
        "a flow (rectified flow)",
        "rectified_flow",
        r"rf|(rectified[-_ ]?)?flow([-_ ]?(match(ing)?|prediction))?",
        # "RF" as a part of the name, and the one widely used model whose name does not have it.
        r"(?<![a-z])rf(?![a-z])|rectified|flow[-_ ]?match|bigasp[-_ ]?v?2[-_.]?5",
    ),
)
PREDICTIONS: dict[str, PredictionSpec] = {each.name: each for each in _ROWS}


def read_prediction_type(text: str) -> str:
    """Returns the prediction for a `modelspec.prediction_type`; "" where it is unknown."""
    word = text.strip().lower()
    return next((each.name for each in _ROWS if re.fullmatch(each.spelling, word)), "")


def read_stated_prediction(metadata: Mapping[str, str]) -> str:
    """Returns the prediction that a LoRA file's header states; "" where it states none.

    Two entries state it. "epsilon" in the one counts for little, since programs write it for every
    file: where the version in the other stands for one prediction alone, that is taken.
    """
    stated = read_prediction_type(metadata.get("modelspec.prediction_type", ""))
    _, by_version = read_version(metadata.get("ss_base_model_version", ""))
    return by_version if stated in {"", "epsilon"} and by_version else stated


def suggest_prediction(name: str) -> str:
    """Returns the prediction that a file's name or title suggests; "" for none."""
    lower = name.lower()
    return next((each.name for each in _ROWS if each.hint and re.search(each.hint, lower)), "")
