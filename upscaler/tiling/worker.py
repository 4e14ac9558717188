"""Work in a worker, with its steps as a stream that can be closed; and the workers: another thread, or the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from threading import Event as Flag
from typing import Any, TypeVar

from ..errors import Cancelled
from ..models.base import OnStep

T = TypeVar("T")
Item = TypeVar("Item")


class Inline(Executor):
    """Runs what is submitted at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def worker(name: str, *, inline: bool) -> Executor:
    """Where a model runs: a thread of that name, or the caller's own."""
    return Inline() if inline else ThreadPoolExecutor(1, thread_name_prefix=name)


def watch(worker: Executor, call: Callable[[OnStep], T], item: Callable[[int, int], Item]) -> Generator[Item, None, T]:
    """The result of `call(on_step)`, which runs in `worker`, with `item(k, n)` for each of its steps.

    When this generator is closed, the next `on_step` raises `Cancelled` in the thread, and the close returns when the
    call has ended. An inline worker's steps come when its call has ended.
    """
    steps: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
    stopped = Flag()

    def on_step(step: int, of: int) -> None:
        if stopped.is_set():
            raise Cancelled("the run was stopped")
        steps.put((step, of))

    future = worker.submit(call, on_step)
    future.add_done_callback(lambda _: steps.put(None))
    try:
        while (step := steps.get()) is not None:
            yield item(*step)
        return future.result()
    finally:
        stopped.set()
        wait([future])
