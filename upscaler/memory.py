"""How much main memory is free, and what a model takes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory that a model takes where it runs on the processor.

    Attributes:
        loaded: bytes that stay while it is loaded: its weights, as they are kept, without the libraries that run it.
        at_work: bytes more for each pixel of a tile that goes in.
    """

    loaded: int
    at_work: float


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
