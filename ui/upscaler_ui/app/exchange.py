"""What goes to and fro between the app and its callers: files for a while, and the ids of calls."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

_RESULT_LIES = 600.0  # seconds that the result of a call waits to be fetched
_FILE_LIES = 86_400.0  # what a page has sent or was sent, which it may still show
_SWEEP = 30.0
_REMEMBERED_IDS = 10_000


class Exchange:
    """A folder whose files go when they have lain there long enough.

    Attributes:
        folder: where Gradio keeps what was sent to the app and what it sends; results of calls lie in it too, so that it
            makes no copies of them.
    """

    def __init__(self, scratch: Path, looked_at: Callable[[], Collection[Path]]) -> None:
        """
        Args:
            looked_at: the files that open pages still show.
        """
        self.folder, self._results = scratch / "exchange", results_in(scratch)
        self._results.mkdir(parents=True)
        self._looked_at = looked_at
        self._used: dict[str, None] = {}  # ids of calls, the newest last
        self._lock, self._closed = threading.Lock(), threading.Event()

    def take_id(self, id: str) -> bool:
        """Whether the id of a call is new; from now on it is not."""
        with self._lock:
            if id in self._used:
                return False
            self._used[id] = None
            for old in list(self._used)[:-_REMEMBERED_IDS]:
                del self._used[old]
            return True

    def let_go(self, sent: Path) -> None:
        """Delete what a call has sent, unless a page shows the same file."""
        if sent.is_relative_to(self.folder) and sent not in self._looked_at():
            with suppress(OSError):
                sent.unlink()
                sent.parent.rmdir()

    def sweep(self, now: float) -> None:
        """Delete what has lain there long enough, at that time in seconds since 1970."""
        looked_at = self._looked_at()
        for folder, _, names in os.walk(self.folder, topdown=False):
            place = Path(folder)
            lies = _RESULT_LIES if place.is_relative_to(self._results) else _FILE_LIES
            for path in (place / name for name in names):
                with suppress(OSError):  # whoever is faster
                    if now - path.stat().st_mtime > lies and path not in looked_at:
                        path.unlink()
            if place not in (self.folder, self._results):
                with suppress(OSError):  # it is not empty, or younger
                    if now - place.stat().st_mtime > _SWEEP:
                        place.rmdir()

    def keep_clean(self, more: Callable[[], None]) -> None:
        """Sweep now and then until it is closed, in a thread, and do `more` then."""

        def work() -> None:
            while not self._closed.wait(_SWEEP):
                self.sweep(time.time())
                more()

        threading.Thread(target=work, name="sweep", daemon=True).start()

    def close(self) -> None:
        """Sweep no more."""
        self._closed.set()


def results_in(scratch: Path) -> Path:
    """Where results of calls lie."""
    return scratch / "exchange" / "results"


def new_result(scratch: Path) -> Path:
    """A folder for the result of a call, of nobody's choice, so that nobody else can ask for it."""
    folder = results_in(scratch) / secrets.token_hex(16)
    folder.mkdir()
    return folder
