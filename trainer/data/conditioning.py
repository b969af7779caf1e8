"""Captions as conditioning: encoded at every step while the text encoder learns, else once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.data.cache import TensorCache

Conditioning = dict[str, Tensor]


class CaptionEncoder:
    """Encodes captions.

    Args:
        encode: From captions to conditioning whose first axis is the batch.
        join: From captions' conditioning, each a batch of one, to that of the batch.
        fingerprint: Names the text encoder's weights.
        cache: Where encoded captions are looked for and kept; None while the encoder learns.
        device: Where conditioning lives.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Conditioning],
        join: Callable[[Sequence[Conditioning]], Conditioning],
        fingerprint: str,
        cache: TensorCache | None,
        device: torch.device,
    ) -> None:
        self._encode, self._join, self._fingerprint = encode, join, fingerprint
        self._cache, self._device = cache, device
        self._known: dict[str, Conditioning] = {}

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """Returns the conditioning of a batch of captions."""
        if self._cache is None:
            return self._encode(captions)
        return self._join([self._look_up(caption, self._cache) for caption in captions])

    def prepare(self, captions: Sequence[str]) -> None:
        """Encodes captions ahead, so that the text encoder is not needed for them any more."""
        if self._cache is not None:
            for caption in captions:
                self._look_up(caption, self._cache)

    def _look_up(self, caption: str, cache: TensorCache) -> Conditioning:
        if caption not in self._known:
            key = ("text", self._fingerprint, caption)
            encoded = cache.get(*key)
            if encoded is None:
                with torch.no_grad():
                    encoded = self._encode([caption])
                cache.put(encoded, *key)
            self._known[caption] = {name: value.to(self._device) for name, value in encoded.items()}
        return self._known[caption]
