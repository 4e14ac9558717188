"""Where large arrays live: in memory, or in files that the system reads and writes as they are used.

A file is mapped into memory as it is, by numpy, so that an array in it is an array like any other, has the same values,
and is read and written where it lies: tiles touch whole rows of a picture at once, which is how numpy lays it out, so
chunks or compression would only add copies. The file has no name, so that nothing is left of it, however a run ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
import time
import weakref
from pathlib import Path

import numpy as np

from .types import Array

RESIDENT = 256 << 20
"""Bytes of mapped files in memory above which they are let go."""
_PERIOD = 0.05  # seconds between two looks


class Store:
    """Makes arrays in memory, or on a disk.

    >>> Store().empty((2, 3)).shape
    (2, 3)
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where arrays are kept on disk; `None` keeps them in memory."""
        self._folder = folder

    def empty(self, shape: tuple[int, ...]) -> Array:
        """A new float32 array of that shape, with any values.

        Raises:
            OSError: the disk has not so much room.
        """
        if self._folder is None:
            return np.empty(shape, np.float32)
        with tempfile.TemporaryFile(dir=self._folder, prefix=".upscaler-") as file:
            _allocate(file.fileno(), max(int(np.prod(shape, dtype=np.int64)) * 4, 1))
            array = np.memmap(file, np.float32, "r+", shape=shape)
        _trimmer.watch(array.base)
        return np.asarray(array)

    def copy(self, array: Array) -> Array:
        """A new array with the values of another one."""
        new = self.empty(array.shape)
        new[...] = array
        return new


IN_MEMORY = Store()


def _allocate(file: int, size: int) -> None:
    """Make a file as long as that, with its room on the disk reserved: a full disk would end the process later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


class _Trimmer:
    """Lets go of what mapped files occupy in memory while it is more than a few rows of a picture.

    The system would do so only when memory runs short, and until then others would be short of it. What is let go is
    still in the system's cache, or on the disk, and comes back when it is touched.
    """

    def __init__(self) -> None:
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._running = False

    def watch(self, mapped: object) -> None:
        """Trim this one too, as long as it lives."""
        if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED") or _resident() is None:
            return
        with self._lock:
            self._maps.add(mapped)
            if not self._running:
                self._running = True
                threading.Thread(target=self._trim, name="trim mapped files", daemon=True).start()

    def _trim(self) -> None:
        while True:
            time.sleep(_PERIOD)
            with self._lock:
                maps = list(self._maps)
                if not maps:
                    self._running = False
                    return
            del maps  # so that an array nobody holds any more ends with its last user
            self.look()

    def look(self) -> None:
        """Let go of all that is mapped where it is too much."""
        with self._lock:
            maps = list(self._maps)
        if maps and (_resident() or 0) > RESIDENT:
            for mapped in maps:
                mapped.madvise(mmap.MADV_DONTNEED)


def _resident() -> int | None:
    """Bytes of mapped files in this process's memory; `None` where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE
    except OSError:
        return None


_trimmer = _Trimmer()


def trim() -> None:
    """Let go of what mapped files occupy in memory where that is much.

    It happens now and then by itself, but not while a network keeps the interpreter; whoever goes over large parts of a
    picture calls it after each of them.
    """
    _trimmer.look()
