"""Captions as conditioning: encoded at every step while the text encoder learns, else once."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from trainer.data.cache import TensorCache
from trainer.data.store import TensorStore

Conditioning = dict[str, Tensor]


class CaptionEncoder:
    """Encodes captions.

    Args:
        encode: From captions to conditioning whose first axis is the batch.
        join: From captions' conditioning, each a batch of one, to that of the batch.
        fingerprint: Names the text encoder's weights.
        cache: Where encoded captions are looked for and kept; None while the encoder learns.
        device: Where conditioning lives.
        repeats: Whether captions come again. Those with shuffled tags do not, and keeping each
            would take more memory with every step.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Conditioning],
        join: Callable[[Sequence[Conditioning]], Conditioning],
        fingerprint: str,
        cache: TensorCache | None,
        device: torch.device,
        *,
        repeats: bool = True,
    ) -> None:
        self._encode, self._join, self._fingerprint = encode, join, fingerprint
        self._cache, self._repeats = cache, repeats
        self._store = TensorStore(cache, device) if cache else None

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """Returns the conditioning of a batch of captions."""
        if self._cache is None or self._store is None:
            return self._encode(captions)
        look_up = partial(self._look_up, cache=self._cache, store=self._store)
        return self._join([look_up(caption) for caption in captions])

    def prepare(self, captions: Sequence[str]) -> None:
        """Encodes captions ahead, so that the text encoder is not needed for them any more."""
        if self._cache is not None and self._store is not None:
            for caption in captions:
                self._add(caption, self._cache, self._store)

    def _look_up(self, caption: str, cache: TensorCache, store: TensorStore) -> Conditioning:
        if caption not in store:
            if not self._repeats:
                with torch.no_grad():
                    return self._encode([caption])
            self._add(caption, cache, store)
        return dict(store.get(caption))

    def _add(self, caption: str, cache: TensorCache, store: TensorStore) -> None:
        if caption in store:
            return
        key = ("text", self._fingerprint, caption)
        encoded = cache.get(*key)
        if encoded is None:
            with torch.no_grad():
                encoded = self._encode([caption])
            cache.put(encoded, *key)
        store.add(caption, encoded, *key)
