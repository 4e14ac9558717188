"""Models that run in several processes, on several devices or machines: Ray starts them, moves tiles, and tells who died.

A pool is a model like any other, only that it takes several calls at once, each by whichever worker is free. Corrections
are added by the run itself, whose sums are exact in any order; so the result has the bytes of one worker's.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from .arrays.types import Image
from .errors import SettingsError, UpscalerError
from .geometry import Box, Size
from .memory import reuse_freed_memory
from .models.base import OnStep
from .options.settings import Sampling
from .text import one_line
from .tiling.grid import TileSides

Load = Callable[[], Any]
"""Loads a model in the worker's own process; it travels there by pickle."""

_TRIES = 3  # of a call whose worker dies; a tile that kills three workers kills all
_KINDS = 2  # of models that share a GPU: one that enlarges, one that redraws
_TELL = 0.25  # seconds between two steps that are told: each costs the run about a millisecond
_FACTS = ("scale", "halo", "multiple", "tile_sides", "takes_prompt", "mixes_prompts", "habits", "about", "name")


class Share(NamedTuple):
    """What there is for the workers of one kind.

    Attributes:
        workers: how many there are to be.
        gpus: of the cluster's that each takes for itself; 0 where devices are named in the settings.
        threads: of the processor for each; `None` is all of its machine's.
    """

    workers: int
    gpus: float = 0.0
    threads: int | None = None


@contextmanager
def cluster(workers: str) -> Generator[Share, None, None]:
    """Ray, started on this machine or joined.

    Args:
        workers: a number, or the address of an existing cluster, "ray://HOST:PORT" or "auto", which gets a worker for each
            GPU, or for each machine where it has none.

    Raises:
        SettingsError: Ray is not installed, or there is no cluster at that address.
    """
    try:
        ray: Any = import_module("ray")
    except ImportError:
        raise SettingsError(
            f'--workers {workers}: needs Ray; install it with pip install "tiled-diffusion-upscaler[ray]"'
        ) from None
    try:
        if workers.isdigit():
            number = max(int(workers), 1)
            ray.init(num_cpus=number, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            share = Share(number, threads=max((os.cpu_count() or 1) // number, 1))
        else:
            ray.init(address=workers, log_to_driver=False, logging_level="ERROR")
            gpus = int(ray.cluster_resources().get("GPU", 0))
            share = Share(gpus, 1 / _KINDS) if gpus else Share(len(ray.nodes()))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"--workers {workers}: no Ray cluster there ({one_line(error)}); give a number for workers on this machine, "
            "or the address that `ray start --head` has printed"
        ) from error
    try:
        yield share
    finally:
        ray.shutdown()


class _Worker:
    """A model in a process of its own."""

    def __init__(self, load: Load, threads: int | None) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads or os.cpu_count() or 1)  # Ray says 1 where it is not told
        reuse_freed_memory()
        self._model = load()
        self._stopped = threading.Event()

    def facts(self) -> dict[str, Any]:
        """What the model says of itself."""
        return {name: getattr(self._model, name) for name in _FACTS if hasattr(self._model, name)}

    def batch_size(self, tile: Size) -> int:
        return self._model.batch_size(tile)

    def stop(self) -> None:
        """End the call at work at its next step."""
        self._stopped.set()

    def call(self, *args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        """Steps of the model's work as (step, of), a few a second, then what it returns in a list."""
        self._stopped.clear()
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        last = time.monotonic()

        def on_step(step: int, of: int) -> None:
            nonlocal last
            if self._stopped.is_set():
                raise UpscalerError("stopped")
            if step == of or time.monotonic() - last >= _TELL:
                last = time.monotonic()
                told.put((step, of))

        def work() -> None:
            try:
                told.put([self._model(*_writable(args), **kwargs, on_step=on_step)])
            except BaseException as error:
                told.put(error)

        threading.Thread(target=work, daemon=True).start()
        while True:
            item = told.get()
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, list):
                return


def _writable(args: Sequence[Any]) -> list[Any]:
    """Arrays arrive in memory that all workers share and none may write to."""
    return [np.array(arg) if isinstance(arg, np.ndarray) else [np.array(tile) for tile in arg] for arg in args]


class Pool:
    """Workers with the same model; a call goes to one that is free, and to another one if it dies."""

    def __init__(self, loads: Sequence[Load], share: Share) -> None:
        """One worker for each of `loads`.

        Raises:
            UpscalerError: what loading raises.
        """
        ray: Any = import_module("ray")
        actor = ray.remote(_Worker).options(max_concurrency=2, num_cpus=0, num_gpus=share.gpus)
        self._start = [partial(actor.remote, load, share.threads) for load in loads]
        self._workers: list[Any] = [start() for start in self._start]
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.facts: dict[str, Any] = _got(self._workers[0].facts.remote())
        for index in range(len(loads)):
            self._free.put(index)

    def wait(self) -> None:
        """Come back when all workers have loaded their models. Raises: as `Pool`."""
        for worker in self._workers:
            _got(worker.facts.remote())

    def __len__(self) -> int:
        return len(self._workers)

    def ask(self, method: str, *args: Any) -> Any:
        """What a method of one of the models returns."""
        return _got(getattr(self._workers[0], method).remote(*args))

    def call(self, *args: Any, on_step: OnStep | None, **kwargs: Any) -> Any:
        """What the model returns, from whichever worker is free; waits for one."""
        from ray.exceptions import RayActorError, RayTaskError

        index = self._free.get()
        try:
            for attempt in range(_TRIES):
                try:
                    return self._call(index, args, kwargs, on_step)
                except RayTaskError as error:
                    cause = getattr(error, "cause", None)
                    raise (cause if isinstance(cause, UpscalerError) else error) from None
                except RayActorError:
                    self._workers[index] = self._start[index]()
                    if attempt == _TRIES - 1:
                        raise UpscalerError(
                            f"{_TRIES} workers died over one piece of work; look for the cause in Ray's log"
                        ) from None
        finally:
            self._free.put(index)
        raise AssertionError

    def _call(self, index: int, args: Sequence[Any], kwargs: dict[str, Any], on_step: OnStep | None) -> Any:
        ray: Any = import_module("ray")
        worker: Any = self._workers[index]
        for reference in worker.call.options(num_returns="streaming").remote(*args, **kwargs):
            item = ray.get(reference)
            if isinstance(item, list):
                return item[0]
            if on_step is not None:
                try:
                    on_step(*item)
                except BaseException:
                    worker.stop.remote()
                    raise
        raise AssertionError("a call ends with what it returns")


class PooledRefiner:
    """A `Refiner` over a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.parallel = len(pool)
        self.multiple: int = pool.facts["multiple"]
        self.tile_sides: TileSides = pool.facts["tile_sides"]
        vars(self).update(pool.facts)

    def batch_size(self, tile: Size) -> int:
        return self._pool.ask("batch_size", tile)

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        drawn = self._pool.call(list(tiles), boxes=list(boxes), sampling=sampling, seed=seed, on_step=on_step)
        return [np.array(tile) for tile in drawn]


class PooledUpscaler:
    """An `Upscaler` over a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.parallel = len(pool)
        self.scale: int = pool.facts["scale"]
        self.halo: int = pool.facts["halo"]

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        return np.array(self._pool.call(image, on_step=on_step))


def _got(reference: Any) -> Any:
    ray: Any = import_module("ray")
    from ray.exceptions import RayActorError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, UpscalerError) else error) from None
    except RayActorError as error:
        cause = getattr(error, "cause", None) or error
        raise UpscalerError(f"a worker could not start ({str(cause).splitlines()[-1]})") from None
