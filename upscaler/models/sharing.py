"""Models among threads: loaded one at a time and while none runs, shared while they are in use, run by one at a time.

While a model loads, diffusers, transformers and torch change what belongs to the whole process: the default number
format, how modules register their parameters, the number of threads. A network that another thread builds meanwhile
comes out in the wrong format or without weights; one that runs meanwhile computes in another format or on fewer threads.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from .. import weights
from ..errors import UnsupportedModel, UpscalerError, WeightsError
from ..options.loras import entries
from ..text import one_line

T = TypeVar("T")


class Gate:
    """Lets any number of threads run models, or one thread load one. A thread that waits to load goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._waiting = 0
        self._owner: int | None = None

    @contextmanager
    def loading(self) -> Generator[None, None, None]:
        """Run the block while no other thread loads or runs a model. The block may load and run more of them.

        The collector of unused objects rests meanwhile: it would take a fifth of the time of importing torch and its
        friends, and find nothing.
        """
        me = threading.get_ident()
        if self._owner == me:
            yield
            return
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._owner is None and not self._running)
                self._owner = me
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()
            with self._changed:
                self._owner = None
                self._changed.notify_all()

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Run the block while nobody else loads a model. Nothing may be loaded in the block, or it waits for itself."""
        if self._owner == threading.get_ident():
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._owner is None and not self._waiting)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


GATE = Gate()
"""The one of this process."""


class Turns:
    """The turns that threads take in running one model, since its hooks and its number format are its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def turn(self) -> Generator[None, None, None]:
        """Run the block while no other thread runs this model or loads any."""
        with self._lock, GATE.running():
            yield


WHEN_RUN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What networks raise that do not fit what they are given; a host's own word to stop is none of them."""


@contextmanager
def model_errors(
    name: str, what: str = "cannot be loaded", kinds: tuple[type[Exception], ...] = (Exception,)
) -> Generator[None, None, None]:
    """Read, load or run the model of that name in the block: whatever libraries raise about it is said in one line.

    Files from anywhere can be wrong in more ways than anyone lists, and so can what libraries make of them.

    Raises:
        UnsupportedModel: the files are damaged, or of no kind that is supported.
    """
    try:
        yield
    except (UpscalerError, MemoryError):
        raise
    except kinds as error:
        raise UnsupportedModel(
            f"{name}: {what} ({one_line(error)}); the model is damaged, or of a kind that is not supported"
        ) from error


_MODELS: WeakValueDictionary[Any, Any] = WeakValueDictionary()
_LOCKS: dict[Any, threading.Lock] = {}


def shared(load: Callable[..., T], kind: weights.Kind, name: str, **options: Any) -> T:
    """What `load(name, **options)` returns: the same object for all who ask for it while any of them holds it.

    A model whose files have changed meanwhile is another one.

    Args:
        options: as the loader takes them; those that name other models count with their files too.
    """
    files = [_stamp(named, of) for option, of in _NAMES.items() for named, _ in entries(str(options.get(option, "")))]
    key = (load, kind, name, repr(sorted(options.items())), _stamp(name, kind), *files)
    found = _MODELS.get(key)
    if found is not None:
        return found
    with _LOCKS.setdefault(key, threading.Lock()):
        found = _MODELS.get(key)
        if found is None:
            try:
                with model_errors(name):
                    found = _MODELS[key] = load(name, **options)
            finally:
                _LOCKS.pop(key, None)
        return found


_NAMES: dict[str, weights.Kind] = {
    "control": "control",
    "vae": "vae",
    "base": "diffusion",
    "lora": "lora",
    "embedding": "embedding",
}
"""Options of a loader that name models, and of which kind."""


def _stamp(name: str, kind: weights.Kind) -> tuple[tuple[str, int, int], ...]:
    """What changes whenever the files of a model do; empty for what is not on this machine."""
    try:
        return tuple(_state(file) for file in weights.files_of(weights.find(name, kind)))
    except WeightsError:
        return ()


def _state(file: Path) -> tuple[str, int, int]:
    try:
        found = os.stat(file)
    except OSError:  # it went away, or is a link to nothing
        return str(file), 0, 0
    return str(file), found.st_size, found.st_mtime_ns
