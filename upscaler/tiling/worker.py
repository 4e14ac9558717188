"""Calls that run beside the one who waits for them, tell their steps, and can be stopped; and where they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event as Flag
from typing import Any, Generic, TypeVar

from ..arrays.types import Image
from ..errors import Cancelled

OnStep = Callable[[int, int], None]
"""Called as `on_step(k, n)` after part `k` of `n` of a tile's work; raises `Cancelled` when the run was stopped."""

Hold = Callable[[], None]
"""Called after each step of a network, in its thread, which goes on when it comes back."""

Pending = Callable[[], Image]
"""Waits for a tile that comes back from a device, and gives it, in any thread."""

T = TypeVar("T")


def part_of(on_step: OnStep, number: int, of: int) -> OnStep:
    """What tells the steps of one of several equal parts of a call as steps of the whole; `number` counts from 0."""
    return lambda step, steps: on_step(number * steps + step, of * steps)


class Inline(Executor):
    """Runs what is submitted at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def make_worker(name: str, *, inline: bool, threads: int = 1) -> Executor:
    """Where calls run: in threads of that name, or in the caller's own."""
    return Inline() if inline else ThreadPoolExecutor(threads, thread_name_prefix=name)


class Task(Generic[T]):
    """A call `call(on_step)` for a worker, which has it from `start` on."""

    def __init__(self, worker: Executor, call: Callable[[OnStep], T], hold: Hold | None = None) -> None:
        self._worker, self._call, self._hold = worker, call, hold
        self._steps: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._stopped = Flag()
        self._future: Future[T] | None = None

    def start(self) -> Future[T]:
        """Hand the call to the worker, if it has it not yet."""
        if self._future is None:
            steps = self._steps  # not this object: the circle would keep tiles in memory until the collector comes
            self._future = self._worker.submit(self._call, self._on_step)
            self._future.add_done_callback(lambda _: steps.put(None))
        return self._future

    def _on_step(self, step: int, of: int) -> None:
        self._steps.put((step, of))
        if self._hold is not None:
            self._hold()
        if self._stopped.is_set():
            raise Cancelled("the run was stopped")

    def steps(self) -> Iterator[tuple[int, int]]:
        """Each step and their number, as they are done, until the call has ended; all at once from an inline worker."""
        self.start()
        while (step := self._steps.get()) is not None:
            yield step

    def result(self) -> T:
        """What the call has returned. Raises: what it has raised."""
        return self.start().result()

    def stop(self) -> None:
        """End the call: it never starts, or its next step raises `Cancelled` in it; comes back when it has ended."""
        self._stopped.set()
        if self._future is not None and not self._future.cancel():
            wait([self._future])
