"""How much main memory is free, what a model takes of it, and what becomes of it when it is freed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_REUSED = ((-8, 1), (-3, 1 << 28), (-1, (1 << 31) - 1))
"""Options of mallopt(3): M_ARENA_MAX, so that threads share what is free; M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in bytes."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a model takes of the memory that it runs in: main memory where it runs on the processor.

    Attributes:
        loaded: bytes that stay while it is loaded: its weights, as they are kept, without the libraries that run it.
        at_work: bytes more for each pixel of a tile that goes in, and each tile of a batch.
        coding: bytes more for each pixel of one tile while it is encoded or decoded, when nothing else is at work.
        largest: bytes of the largest of its parts, that of `loaded` which has to be there while the others wait
            elsewhere; 0 is all of it.
        loading: bytes of main memory that loading takes beyond `loaded`, before anything is at work.
    """

    loaded: int
    at_work: float
    coding: float = 0.0
    largest: int = 0
    loading: int = 0

    def bytes(self, pixels: int, *, batch: int = 1, low_vram: bool = False) -> int:
        """What it takes at most for tiles of so many pixels.

        Args:
            batch: tiles at once.
            low_vram: only the part that is at work is there.
        """
        kept = self.largest or self.loaded if low_vram else self.loaded
        return kept + round(pixels * max(self.at_work * batch, self.coding))


def reuse_freed_memory() -> None:
    """Let this process keep up to 2 GB of what it frees for what it needs next; for our own programs, not for a host's.

    The C library of most Linux systems gives the maps between two layers of a network back to the system, which then clears
    the same pages for the next ones, in one thread: a third of the time of the usual run on two cores. Elsewhere nothing is done.
    """
    for option, value in _REUSED:
        _glibc("mallopt", option, value)


def return_freed_memory() -> None:
    """Give back to the system what the C library of most Linux systems keeps of what this process has freed."""
    _glibc("malloc_trim", 0)


def _glibc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            getattr(ctypes.CDLL("libc.so.6"), name)(*arguments)


def free_memory() -> int:
    """Bytes that can still be allocated in main memory, within the limits of a container."""
    import psutil  # only where it is asked for: importing upscaler need not wait for it

    return min([psutil.virtual_memory().available, *container_memory()])


def container_memory(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What the control group of this process may still take, if there is one with a limit."""
    try:
        limit, used = ((root / name).read_text().strip() for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
    except OSError:
        return
    if limit != "max":
        yield max(int(limit) - int(used) + int(statistics["inactive_file"]), 0)
