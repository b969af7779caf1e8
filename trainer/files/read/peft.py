"""Alphas of diffusers and PEFT files, which are in the header instead of tensors."""

import json
import math
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

KEY = "lora_adapter_metadata"
CONFIG_NAME = "adapter_config.json"  # beside files of PEFT's own save function
_MODELS = ("unet", "text_encoder", "text_encoder_2")
_PLAIN = re.compile(r"[\w.\-]+")


class PeftAlphas:
    """The strengths in the header, which are looked at only where a layer has none of its own.

    Args:
        metadata: The file's.
        beside: The adapter_config.json of a file of PEFT's own save function, which holds the
            strengths of all models; None for none.
    """

    def __init__(self, metadata: Mapping[str, str], beside: Path | None = None) -> None:
        self._text = metadata.get(KEY, "{}")
        self._beside = beside

    @cached_property
    def _settings(self) -> dict[str, Any]:
        try:
            settings = json.loads(self._text)
        except (ValueError, RecursionError):
            settings = None
        if not isinstance(settings, dict):
            msg = f"its {KEY} is not a JSON object"
            raise ValueError(msg)
        return settings or self._read_beside()

    def _read_beside(self) -> dict[str, Any]:
        if self._beside is None:
            return {}
        try:
            settings = json.loads(self._beside.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            settings = None
        if not isinstance(settings, dict):
            msg = f"{self._beside.name} beside it is not a JSON object"
            raise ValueError(msg)
        return {f"{model}.{name}": v for model in _MODELS for name, v in settings.items()}

    def find(self, layer: str, rank: int) -> float:
        """Returns alpha so that the scale is alpha / rank; the rank where there is none.

        Args:
            layer: Name with the model in front.
            rank: Of its factors.

        Raises:
            ValueError: the entry is not a JSON object, one of its numbers is none, or a pattern
                is not a plain name.
        """
        model, _, path = layer.partition(".")
        alpha = self._settings.get(f"{model}.lora_alpha")
        patterns = self._settings.get(f"{model}.alpha_pattern") or {}
        if not isinstance(patterns, dict):
            msg = f"{model}.alpha_pattern of its {KEY} is no table"
            raise ValueError(msg)
        alpha = next((value for name, value in patterns.items() if _fits(name, path)), alpha)
        if alpha is None:
            return float(rank)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            msg = f"the alpha of {layer} in its {KEY} is {alpha!r}, which is not a number"
            raise ValueError(msg)
        rank_stabilised = self._settings.get(f"{model}.use_rslora") is True
        return float(alpha) * (math.sqrt(rank) if rank_stabilised else 1.0)


def _fits(pattern: str, path: str) -> bool:
    """PEFT matches patterns from the end of a name, at a dot; a leading ^ means the whole name."""
    name = pattern.removeprefix("^").removesuffix("$")
    if not _PLAIN.fullmatch(name):
        # A file's own regular expression is not run: it could take for ever.
        msg = f"the pattern {pattern!r} of its {KEY} is not a plain name"
        raise ValueError(msg)
    names = {name, f"text_model.{name}"}
    if pattern.startswith("^"):
        return path in names
    return path in names or path.endswith(f".{name}")
