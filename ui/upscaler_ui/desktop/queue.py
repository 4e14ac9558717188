"""The queue on the disk, so that no end of a process loses it: what was begun and is not over.

FILE          the pictures with their settings
FILE-masks/   ID.npy, where the result may be redrawn, for those that have a mask
"""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from upscaler.arrays.types import Array
from upscaler.errors import UpscalerError
from upscaler.folders import read_object, replace_text, whole_or_absent
from upscaler.options.settings import Settings


@dataclass(frozen=True)
class Waiting:
    """A picture that was to be enlarged.

    Attributes:
        source: where it lies.
        root: the folder that was chosen with it inside, if it was one.
        mask: as in `Job`.
    """

    source: Path
    root: Path | None
    name: str
    settings: Settings
    mask: Array | None = field(default=None, compare=False)


class Queue:
    """A file with the pictures that are not over, by the id of their job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._masks = path.with_name(f"{path.stem}-masks")
        self._lock = threading.Lock()
        self._left = _read(read_object(path), self._masks)
        self._now: dict[str, Waiting] = {}
        self._together = 0

    @property
    def left(self) -> list[Waiting]:
        """What an earlier start did not finish."""
        return list(self._left.values())

    def forget_left(self) -> None:
        """What an earlier start did not finish is not wanted, or it is in the queue again."""
        with self._lock:
            self._left.clear()
            self._write()

    def add(self, items: Mapping[str, Waiting]) -> None:
        """These begin to wait."""
        with self._lock:
            for id, item in items.items():
                if item.mask is not None:
                    self._masks.mkdir(parents=True, exist_ok=True)
                    with whole_or_absent(self._masks / f"{id}.npy") as stream:
                        np.save(stream, item.mask)
            self._now |= items
            self._write()

    def over(self, id: str) -> None:
        """That one is finished; or its user stopped it, or it failed."""
        with self._lock:
            if self._now.pop(id, None) is not None:
                self._write()

    @contextmanager
    def together(self) -> Generator[None, None, None]:
        """What the block changes is written once, at its end."""
        self._together += 1
        try:
            yield
        finally:
            with self._lock:
                self._together -= 1
                self._write()

    def _write(self) -> None:
        if self._together:
            return
        items = {**self._left, **self._now}
        used = list(dict.fromkeys(item.settings for item in items.values()))
        places = {settings: place for place, settings in enumerate(used)}
        values = {
            id: [
                str(item.source),
                item.root and str(item.root),
                item.name,
                places[item.settings],
                item.mask is not None,
            ]
            for id, item in items.items()
        }
        replace_text(self._path, json.dumps({"settings": [settings.to_dict() for settings in used], "items": values}))
        with suppress(OSError):  # there never was a mask
            for path in self._masks.iterdir():
                if path.stem not in items:
                    path.unlink()


def _read(values: dict[str, Any], masks: Path) -> dict[str, Waiting]:
    """The items of a file; none where it is of another version, or not ours."""
    try:
        used = [Settings.from_dict(value) for value in values["settings"]]
        found = {
            id: (Waiting(Path(source), root and Path(root), str(name), used[place]), masked)
            for id, (source, root, name, place, *masked) in values["items"].items()  # older ones tell of no mask
        }
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, UpscalerError):
        return {}
    left: dict[str, Waiting] = {}
    for id, (item, masked) in found.items():
        with suppress(OSError, ValueError):  # without its mask the whole picture would be redrawn
            left[id] = replace(item, mask=np.load(masks / f"{id}.npy")) if any(masked) else item
    return left
