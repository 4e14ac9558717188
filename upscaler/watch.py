"""Work in another thread, with its steps as a stream that can be closed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event as Flag
from typing import TypeVar

from .errors import Cancelled
from .models.base import OnStep

T = TypeVar("T")
Item = TypeVar("Item")


def watch(
    thread: ThreadPoolExecutor, call: Callable[[OnStep], T], item: Callable[[int, int], Item]
) -> Generator[Item, None, T]:
    """The result of `call(on_step)`, which runs in `thread`, with `item(k, n)` for each of its steps.

    When this generator is closed, the next `on_step` raises `Cancelled` in the thread, and the close returns when the
    call has ended.
    """
    steps: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
    stopped = Flag()

    def on_step(step: int, of: int) -> None:
        if stopped.is_set():
            raise Cancelled("the run was stopped")
        steps.put((step, of))

    future = thread.submit(call, on_step)
    future.add_done_callback(lambda _: steps.put(None))
    try:
        while (step := steps.get()) is not None:
            yield item(*step)
        return future.result()
    finally:
        stopped.set()
        wait([future])
