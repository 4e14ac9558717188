"""Models that are fetched from the hub: one after the other, in a thread of their own, whoever asked for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from upscaler.errors import Cancelled
from upscaler.models.fetch import fetch
from upscaler.models.manifest import Entry


class Stage(str, Enum):
    """What has become of a fetch."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass
class Fetch:
    """A model that is fetched, or was.

    Attributes:
        done, total: bytes that have come, and bytes in all; 0 until the hub has told them.
        began: by `time.monotonic`, when the first bytes came, and how many had come before.
    """

    entry: Entry
    stage: Stage = Stage.WAITING
    done: int = 0
    total: int = 0
    began: tuple[float, int] | None = None
    error: BaseException | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return self.stage not in (Stage.WAITING, Stage.RUNNING)

    @property
    def left(self) -> float | None:
        """Seconds until it is here, at the rate of so far; `None` while that is not known."""
        if self.began is None:
            return None
        seconds, come = time.monotonic() - self.began[0], self.done - self.began[1]
        return (self.total - self.done) / (come / seconds) if come > 0 and seconds > 0.5 else None

    def note(self, done: int, total: int) -> None:
        """So many bytes have come. Raises: `Cancelled`, once it is to stop."""
        self.began = self.began or (time.monotonic(), done)
        self.done, self.total = done, total
        if self.stop.is_set():
            raise Cancelled(f"{self.entry.name}: was stopped; it continues from there when it is fetched again")


class Fetches:
    """All fetches of an app."""

    def __init__(self, fetch: Callable[..., Path] = fetch) -> None:
        """
        Args:
            fetch: as `upscaler.models.fetch.fetch`.
        """
        self._fetch = fetch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fetch")
        self._known: dict[str, Fetch] = {}

    def start(self, entry: Entry) -> None:
        """Fetch a model after those that wait already; what an earlier one has left of it is not fetched again."""
        known = self._known.get(entry.name)
        if known is None or known.over:
            self._known[entry.name] = Fetch(entry)
            self._thread.submit(self._run, self._known[entry.name])

    def stop(self, name: str) -> None:
        """Stop fetching that model; what has come of it is kept."""
        known = self._known.get(name)
        if known is not None:
            known.stop.set()
            if known.stage is Stage.WAITING:
                known.stage = Stage.STOPPED

    def of(self, name: str) -> Fetch | None:
        """What has become of the model of that name; `None` if nobody asked for it."""
        return self._known.get(name)

    @property
    def busy(self) -> bool:
        return any(not known.over for known in self._known.values())

    @property
    def arrived(self) -> int:
        """How many have come."""
        return sum(known.stage is Stage.FINISHED for known in self._known.values())

    def close(self) -> None:
        """Stop everything, and wait for it."""
        for name in self._known:
            self.stop(name)
        self._thread.shutdown(wait=True)

    def _run(self, work: Fetch) -> None:
        if work.stop.is_set():
            return
        work.stage = Stage.RUNNING
        arguments: dict[str, Any] = {"on_bytes": work.note}
        try:
            self._fetch(work.entry, **arguments)
            work.stage = Stage.FINISHED
        except Cancelled:
            work.stage = Stage.STOPPED
        except Exception as error:  # whatever it is, it is shown with the model
            work.error, work.stage = error, Stage.FAILED
