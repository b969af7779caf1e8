"""Encoded images and captions of a run, on the device as long as they take little of it."""

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor

from datasets_tools.errors import DatasetError
from trainer.data.cache import TensorCache

# 500 images of 1024 pixels, or 2,000 of 512. Reading one from the cache takes under a millisecond.
LIMIT_BYTES = 256 * 1024**2


class TensorStore:
    """Named tensors of any number, of which only some are in memory.

    What is beyond the limit is read from the cache each time. Where the cache could not be
    written it stays in main memory.

    Args:
        cache: Holds what is added, under the keys that are given with it.
        device: Where the tensors are used.
        limit_bytes: How much stays on the device.
    """

    def __init__(
        self, cache: TensorCache, device: torch.device, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._cache, self._device, self._left = cache, device, limit_bytes
        self._present: dict[Hashable, Mapping[str, Tensor]] = {}  # on the device
        self._waiting: dict[Hashable, Mapping[str, Tensor]] = {}  # in main memory
        self._keys: dict[Hashable, tuple[object, ...]] = {}  # in the cache

    def __contains__(self, name: Hashable) -> bool:
        return any(name in each for each in (self._present, self._waiting, self._keys))

    def add(self, name: Hashable, tensors: Mapping[str, Tensor], *key: object) -> None:
        """Adds tensors, with the key under which the cache holds them; without one they stay."""
        size = sum(each.numel() * each.element_size() for each in tensors.values())
        if size <= self._left:
            self._left -= size
            self._present[name] = self._move(tensors)
        elif key and self._cache.holds(*key):
            self._keys[name] = key
        else:
            self._waiting[name] = {part: value.cpu() for part, value in tensors.items()}

    def get(self, name: Hashable) -> Mapping[str, Tensor]:
        """Returns tensors that were added, on the device.

        Raises:
            KeyError: there are none of the name.
            DatasetError: their file was removed from the cache while the run needed it.
        """
        if name in self._present:
            return self._present[name]
        if name in self._waiting:
            return self._move(self._waiting[name])
        read = self._cache.get(*self._keys[name])
        if read is None:
            msg = (
                f"A file was removed from the cache {self._cache.folder} while a run needed it. "
                "Resume the run: what is missing is encoded again."
            )
            raise DatasetError(msg)
        return self._move(read)

    def _move(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {part: value.to(self._device) for part, value in tensors.items()}
