"""What a command needs of its process: streams that may be closed or full, and signals that ask it to stop."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ..errors import named
from ..folders import drop_drafts

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that stop a run and keep what was finished: Ctrl-C, a polite kill or shutdown, and a terminal that is closed."""


@dataclass
class Asked:
    """Which signal has asked the process to stop; 0 for none."""

    number: int = 0


@contextmanager
def stoppable() -> Generator[Asked, None, None]:
    """Raise `KeyboardInterrupt` in the block at the first signal; end the process at the second, and say so.

    A signal that the process was started to ignore, as by nohup, is still ignored.
    """
    asked = Asked()

    def stop(number: int, frame: Any) -> None:
        if asked.number:
            drop_drafts()
            with suppress(OSError):
                os.write(2, b"\nupscaler: stopped at once; what was finished since is not kept\n")
            os._exit(128 + number)
        asked.number = number
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    for number in (getattr(signal, name) for name in STOPS if hasattr(signal, name)):
        if signal.getsignal(number) != signal.SIG_IGN:
            with suppress(ValueError):  # not the main thread, where there are no signals
                before[number] = signal.signal(number, stop)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stream:
    """Standard output or standard error that never fails: what cannot be written is dropped from then on.

    Attributes:
        failed: whether something was dropped.
    """

    def __init__(self, stream: Any, name: str | None) -> None:
        """`name` is what to call it when it fails; `None` says nothing."""
        self._stream, self._name = stream, name
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        if not self.failed:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:  # a ValueError if it was closed
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Bring out what was written, or drop it."""
        if not self.failed:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failed = True
        with suppress(OSError, ValueError):  # or Python would complain once more when it ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if self._name is not None and getattr(error, "errno", None) != errno.EPIPE:  # a reader that has enough may go
            print(f"upscaler: {self._name}: {named(error)}; continuing without it", file=sys.stderr)


@contextmanager
def safe_streams() -> Generator[Stream, None, None]:
    """Run the block with streams that never fail, and without the warnings of libraries; yields standard output."""
    for number in range(3):  # or the first file that is opened becomes standard output, and gets what is printed
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    output, errors = (
        Stream(stream or io.StringIO(), name)  # `None` is one that was closed
        for stream, name in zip(before, ("standard output", None))
    )
    sys.stdout, sys.stderr = output, errors  # type: ignore[assignment]
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # what a picture's user can act on is said as a notice
            for name in ("tifffile", "PIL"):
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            yield output
        finally:
            output.flush()
            errors.flush()
            sys.stdout, sys.stderr = before
