"""Finished tiles in a file, from which a run that was killed goes on.

A tile is a correction of the canvas, the sum of corrections is exact in any order, and everything else of a run is a
function of its input. So the corrections are all that a run has to remember: a run that goes on does again what is
quick, and takes from the journal what a network has drawn already. The result has the same bytes.

The file is only ever appended to. Each record carries a checksum; what a kill or a power cut left half-written at its
end is cut off when it is opened again.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..arrays.types import Array
from ..errors import ProgressError
from ..text import one_line
from .tiles import Tile

_MAGIC = b"TILE"
_HEAD = struct.Struct(
    "<4s7I"
)  # magic; pass, row, column; height, width, channels; checksum of the rest and the samples


class _Key(NamedTuple):
    pass_: int
    row: int
    column: int


class _Place(NamedTuple):
    """Where the samples of a record lie in the file, and their shape."""

    offset: int
    shape: tuple[int, int, int]


class Journal:
    """The corrections of finished tiles, by the pass in which they were drawn and the tile's place in its plan."""

    def __init__(self, path: Path) -> None:
        """Open the journal in a file, which is made where there is none.

        Raises:
            OSError: it can be neither read nor written.
        """
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._places: dict[_Key, _Place] = {}
        self._end = 0
        self._pass = -1
        try:
            self._read_all()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Number of tiles in it."""
        return len(self._places)

    def next_pass(self) -> None:
        """What follows belongs to the next pass of the run; to its first one, the first time."""
        self._pass += 1

    def holds(self, tile: Tile) -> bool:
        """Whether the tile was finished in this pass."""
        return self._key(tile) in self._places

    def read(self, tile: Tile) -> Array:
        """The correction of a tile that it holds, (h, w, C) float32."""
        place = self._places[self._key(tile)]
        size = 4 * place.shape[0] * place.shape[1] * place.shape[2]
        return np.frombuffer(self._read(place.offset, size), "<f4").astype(np.float32, copy=False).reshape(place.shape)

    def add(self, tile: Tile, correction: Array) -> None:
        """Append the correction of a tile; it is safe only after `sync`.

        Raises:
            ProgressError: it cannot be written; the disk is full, as a rule.
        """
        key, shape = self._key(tile), correction.shape
        samples = np.ascontiguousarray(correction, "<f4").data.cast("B")  # no copy: a tile may have a hundred megabytes
        rest = struct.pack("<6I", *key, *shape)
        checksum = zlib.crc32(samples, zlib.crc32(rest))
        with self._told():
            os.lseek(self._file, self._end, os.SEEK_SET)
            _write(self._file, _MAGIC + rest + struct.pack("<I", checksum))
            _write(self._file, samples)
        self._places[key] = _Place(self._end + _HEAD.size, (shape[0], shape[1], shape[2]))
        self._end += _HEAD.size + len(samples)

    def sync(self) -> None:
        """Come back when everything that was added would survive a power cut. Raises: as `add`."""
        with self._told():
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _key(self, tile: Tile) -> _Key:
        return _Key(self._pass, tile.row, tile.column)

    @contextmanager
    def _told(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise ProgressError(f"{self._path.parent}: the progress cannot be kept ({one_line(error)})") from error

    def _read_all(self) -> None:
        """Find the records, and cut off what comes after the last whole one."""
        size = os.fstat(self._file).st_size
        while True:
            head = self._read(self._end, _HEAD.size)
            if len(head) < _HEAD.size or not head.startswith(_MAGIC):
                break
            _, *key, height, width, channels, checksum = _HEAD.unpack(head)
            length = 4 * height * width * channels
            if self._end + _HEAD.size + length > size:
                break
            samples = self._read(self._end + _HEAD.size, length)
            if zlib.crc32(samples, zlib.crc32(head[4:-4])) != checksum:
                break
            self._places[_Key(*key)] = _Place(self._end + _HEAD.size, (height, width, channels))
            self._end += _HEAD.size + length
        os.ftruncate(self._file, self._end)

    def _read(self, offset: int, size: int) -> bytes:
        os.lseek(self._file, offset, os.SEEK_SET)
        parts: list[bytes] = []
        while size and (part := os.read(self._file, min(size, 1 << 30))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _write(file: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view[: 1 << 30]) :]
