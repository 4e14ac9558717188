"""A pause of all jobs, and a clock that stands still meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_LOOK = 0.1  # seconds after which one who rests sees that its job is stopped


class Pause:
    """Whether jobs rest; from any thread."""

    def __init__(self) -> None:
        self._going = threading.Event()
        self._going.set()
        self._state: tuple[float | None, float] = (None, 0.0)  # since when they rest, and seconds of the pauses before

    @property
    def on(self) -> bool:
        return not self._going.is_set()

    def begin(self) -> None:
        """Let whoever waits here rest."""
        since, before = self._state
        self._state = (time.monotonic() if since is None else since, before)
        self._going.clear()

    def end(self) -> None:
        """Let them go on."""
        self._state = (None, self.seconds)
        self._going.set()

    @property
    def seconds(self) -> float:
        """How long all pauses took."""
        since, before = self._state
        return before if since is None else before + time.monotonic() - since

    def clock(self) -> float:
        """Seconds from any moment on, less those of pauses."""
        since, before = self._state
        return (time.monotonic() if since is None else since) - before

    def wait(self, stopping: Callable[[], bool]) -> None:
        """Come back when there is no pause, or at once where that is being stopped."""
        while not stopping() and not self._going.wait(_LOOK):
            pass
