"""How much main memory is free, and what a model takes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


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
