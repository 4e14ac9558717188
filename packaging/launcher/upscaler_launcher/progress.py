"""How far a build is, and how long it will take: by what it has written, since uv says neither."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path

_WINDOW = 40.0  # seconds that the speed is taken from


class Meter:
    """Bytes below some folders, against those that are expected there.

    Args:
        folders: what the build writes to.
        expected: bytes in them when it is finished.
    """

    def __init__(self, folders: tuple[Path, ...], expected: int) -> None:
        self._folders = folders
        self._expected = max(expected, 1)
        self._seen: deque[tuple[float, int]] = deque()

    def look(self, now: float | None = None) -> tuple[float, float | None]:
        """The fraction that is done, from 0 to 0.99, and the seconds that are left, `None` while nobody can tell."""
        now = time.monotonic() if now is None else now
        written = size_of(self._folders)
        self._seen.append((now, written))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        fraction = min(written / self._expected, 0.99)
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        if end - start < 5 or after <= before:
            return fraction, None
        return fraction, max(self._expected - after, 0) * (end - start) / (after - before)

    def pause(self) -> None:
        """Time that passes from now on says nothing of the speed."""
        self._seen.clear()


def size_of(folders: tuple[Path, ...]) -> int:
    """Bytes of all files below the folders, each once, however many names it has."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                try:
                    found = os.lstat(os.path.join(parent, name))
                except OSError:  # gone in the meantime
                    continue
                if found.st_nlink > 1:
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total


def in_words(seconds: float) -> str:
    """A time as exact as it is known.

    >>> in_words(20), in_words(100), in_words(4000)
    ('less than a minute', 'about 2 minutes', 'about 1 h 7 min')
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return "less than a minute"
    if minutes < 60:
        return f"about {minutes} minutes" if minutes > 1 else "about a minute"
    return f"about {minutes // 60} h {minutes % 60} min"
