"""The base of every config section: unknown keys and loose types are refused."""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Section(BaseModel):
    """One table of the TOML file.

    Strict, so that the text "8" is not silently taken for the number 8; frozen, because a run's
    settings do not change while it runs.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _check_characters(cls, value: Any) -> Any:
        """Refuses what no file can hold, which a browser or a file name can."""
        for text in value if isinstance(value, list | tuple) else (value,):
            if isinstance(text, str) and not _is_text(text):
                msg = "has half of a character (a lone surrogate): type it again"
                raise ValueError(msg)
        return value


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
