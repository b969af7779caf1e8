"""The base of every config section: unknown keys and loose types are refused."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One table of the TOML file.

    Strict, so that the text "8" is not silently taken for the number 8; frozen, because a run's
    settings do not change while it runs.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
