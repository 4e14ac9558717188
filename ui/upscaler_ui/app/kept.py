"""Enlarged tiles that are kept, so that looking at an area again, or in another look, does not enlarge it again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from upscaler.arrays.types import Image
from upscaler.models.base import OnStep, Upscaler
from upscaler.options.settings import Settings

_MOST_BYTES = 512 << 20


class KeptTiles:
    """Results of super-resolution networks by network and input, up to 512 MB; those that were used last stay."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[tuple[Any, ...], Image] = OrderedDict()

    def of(self, upscaler: Upscaler | None, settings: Settings, *, keep: bool) -> Upscaler | None:
        """The network, which takes from here what is here.

        Args:
            settings: those that it was loaded by.
            keep: whether what it makes is kept.
        """
        return None if upscaler is None else _Kept(upscaler, (settings.gan.model, settings.hardware), self, keep)

    def find(self, key: tuple[Any, ...]) -> Image | None:
        found = self._tiles.get(key)
        if found is not None:
            self._tiles.move_to_end(key)
        return found

    def add(self, key: tuple[Any, ...], tile: Image) -> None:
        self._tiles[key] = tile
        while sum(kept.nbytes for kept in self._tiles.values()) > _MOST_BYTES:
            self._tiles.popitem(last=False)


@dataclass
class _Kept:
    """An `Upscaler` over another one."""

    inner: Upscaler
    name: tuple[Any, ...]
    tiles: KeptTiles
    keep: bool

    def __post_init__(self) -> None:
        self.scale, self.halo = self.inner.scale, self.inner.halo

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        key = (self.name, image.shape, blake2b(image.tobytes(), digest_size=16).digest())
        found = self.tiles.find(key)
        if found is None:
            found = self.inner(image, on_step=on_step)
            if self.keep:
                self.tiles.add(key, found.copy())
            return found
        return found.copy()
