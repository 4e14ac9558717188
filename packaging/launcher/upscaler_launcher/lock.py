"""One launcher at a time works on the environments; the system takes the lock from a process that ends, however it ends."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(root: Path) -> Generator[bool, None, None]:
    """Whether no other launcher is at work, for as long as the block lasts."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "launcher.lock").open("a+b") as stream:
        try:
            _take(stream.fileno())
        except OSError:
            yield False
            return
        yield True


def _take(number: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
