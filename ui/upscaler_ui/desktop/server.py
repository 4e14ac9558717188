"""The server's process: `python -m upscaler_ui.desktop.serve`. The window tells it by lines of JSON what to do.

In, on standard input:   {"number": 7, "call": NAME, ...arguments}
Out, on standard output: {"answer": 7, "value": ...} or {"answer": 7, "error": SENTENCES}
                         {"event": "ready", "address": URL}, {"event": "state", ...}, {"event": "over", ...}

The pipe is the window's alone, so it needs no secret. When it ends the window is gone: the jobs are stopped, what was
finished of them is kept, and the queue is left on the disk.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from upscaler.errors import ImageError, UpscalerError
from upscaler.folders import data_folder
from upscaler.memory import reuse_freed_memory
from upscaler.options import presets
from upscaler.text import one_line

from ..app import looks
from ..app.components import asset
from ..app.failures import cause_and_remedy
from ..app.history import Entry
from ..app.job import Job, State
from ..app.jobs import Worker
from ..app.parts import fraction
from ..app.results import convert
from ..app.sessions import Sessions
from ..app.start import serving
from .deliver import save_as
from .gate import Gate
from .page import ASSETS, build_desktop, settings_in_look
from .session import DesktopSession

_LOOK = 0.3  # seconds between two looks at the jobs
_WARM_UP_AFTER = 5.0  # seconds
IDLE = 600.0
"""After so many seconds without a job the memory of the models is given back."""


class DesktopWorker(Worker):
    """A worker during whose jobs the machine does not fall asleep, unless they are paused."""

    def warm_up(self) -> None:
        """Load the usual models when the page has had the time to come up: both want the whole processor."""
        load = super().warm_up

        def soon() -> None:
            with suppress(RuntimeError):  # it was closed in the meantime
                load()

        timer = threading.Timer(_WARM_UP_AFTER, soon)
        timer.daemon = True
        timer.start()

    def _run(self, job: Job) -> None:
        with ExitStack() as self._awake:
            self._stay_awake()
            super()._run(job)

    def _rest(self, job: Job) -> None:
        if self.paused:
            self._awake.close()
            super()._rest(job)
            self._stay_awake()

    def _stay_awake(self) -> None:
        from wakepy import keep

        self._awake.enter_context(keep.running(on_fail="pass"))


@contextmanager
def desktop_app(*, window: bool) -> Generator[tuple[DesktopSession, Callable[[], str]], None, None]:
    """The app of the window as long as the context lasts: the session of its user, and a function that makes addresses.

    Args:
        window: as in `build_desktop`.
    """
    gate = Gate()
    sessions = Sessions(
        data_folder() / "history", DesktopWorker(idle=IDLE, progress=data_folder() / "progress"), DesktopSession
    )
    session = sessions.session(None, "")
    assert isinstance(session, DesktopSession)
    page = partial(build_desktop, window=window)
    css = asset("window.css", ASSETS) if window else ""
    with serving(sessions=sessions, page=page, middleware=[gate.middleware], css=css) as url:
        yield session, lambda: gate.address(url)
        session.leave()


class Calls:
    """What the window may ask for."""

    def __init__(self, session: DesktopSession, address: Callable[[], str]) -> None:
        self._session = session
        self.address = address

    def choose(self, paths: list[str]) -> int:
        """Pictures or folders were chosen. Returns how many pictures that are."""
        return self._session.choose([Path(path) for path in paths])

    def place(self, folder: str | None) -> None:
        """Results go into that folder, or beside their sources."""
        self._session.place = Path(folder) if folder else None

    def looks(self) -> dict[str, Any]:
        """The looks that there are, by name and as people read it; and how much a picture of a watched folder is enlarged."""
        target = settings_in_look(None).target
        size = f"to {target.megapixels:g} megapixels" if target.megapixels else f"×{target.scale:g}"
        return {"looks": [(preset.name, looks.title_in_list(preset)) for preset in presets.presets()], "size": size}

    def watch(self, folder: str, look: str) -> str:
        """What lands in that folder is enlarged in a look, "" for the settings of the last run; returns how that is said."""
        preset = presets.get(look) if look else None
        settings = partial(settings_in_look, preset)
        settings()  # what is wrong with them is said now
        said = looks.title_in_list(preset) if preset else ""
        self._session.watch(Path(folder), said, settings)
        return said

    def stop_watching(self) -> None:
        """Nothing is watched any more."""
        self._session.stop_watching()

    def go_on(self) -> None:
        """End a pause."""
        self._session.worker.resume()

    def unfinished(self) -> int:
        """How many pictures an earlier start has left."""
        return self._session.unfinished

    def resume(self) -> None:
        """Go on with what an earlier start has left."""
        self._session.resume()

    def forget(self) -> None:
        """Drop what an earlier start has left."""
        self._session.forget_left()

    def leave(self) -> None:
        """Stop every job after the step at work, and leave the rest for the next start."""
        self._session.leave()

    def shown(self) -> dict[str, str]:
        """The result on show: its file, and where it was put if that is still there."""
        entry = self._entry()
        saved = self._session.saved(entry)
        return {"name": entry.result_path.name, "result": str(entry.result_path), "saved": str(saved or "")}

    def save(self, path: str) -> str:
        """Write the result on show to a path that the user has confirmed."""
        entry = self._entry()
        save_as(entry.result_path, Path(path), entry.settings)
        return path

    def png(self) -> str:
        """The result on show as a PNG file, for the clipboard."""
        entry = self._entry()
        return str(convert(entry.result_path, "png", entry.settings, self._session.scratch))

    def _entry(self) -> Entry:
        entry = self._session.history.get(self._session.shown or "")
        if entry is None or not entry.result_path.is_file():
            raise ImageError("there is no result on show; enlarge a picture, or click one in the history")
        return entry


NAMES = frozenset(name for name in vars(Calls) if not name.startswith("_")) | {"address"}


class Outlet:
    """Lines of JSON for the window, one at a time."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what libraries print goes into the log
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, or nothing where the window is gone."""
        with self._lock:
            try:
                self._stream.write(json.dumps(message) + "\n")
                self._stream.flush()
            except OSError:
                return


def state_of(session: DesktopSession) -> dict[str, Any]:
    """How far the jobs are, for title, taskbar and closing."""
    jobs = [job for job in session.jobs if not job.state.over]
    job = next((job for job in jobs if job.state is State.RUNNING), None)
    return {
        "busy": len(jobs),
        "name": job.name if job else "",
        "fraction": round(fraction(job), 2) if job is not None else 0.0,
        "paused": session.worker.paused,
        "stopping": any(job.stopping for job in jobs),
        "shown": session.shown or "",
    }


def _report(session: DesktopSession, outlet: Outlet, over: threading.Event) -> None:
    """Tell the window the state of the jobs whenever it has changed."""
    last: dict[str, Any] = {}
    while not over.wait(_LOOK):
        state = state_of(session)
        if state != last:
            outlet.send({"event": "state", **state})
            last = state


def _answer(calls: Calls, outlet: Outlet, line: str) -> None:
    """Carry out one line, and answer it."""
    number: Any = None
    try:
        message = json.loads(line)
        number, name = message.pop("number"), message.pop("call")
        if name not in NAMES:
            raise UpscalerError(f"{name!r} is not a call")
        outlet.send({"answer": number, "value": getattr(calls, name)(**message)})
    except UpscalerError as error:
        outlet.send({"answer": number, "error": " ".join(cause_and_remedy(error))})
    except Exception as error:  # a mistake of ours must not end the server
        outlet.send({"answer": number, "error": f"An unexpected error occurred: {one_line(error)}"})


def main() -> int:
    """Serve until standard input ends."""
    reuse_freed_memory()
    outlet = Outlet()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal goes to the window, which ends this process
    over = threading.Event()
    started = time.monotonic()
    try:
        with desktop_app(window=True) as (session, address), ThreadPoolExecutor(4) as pool:
            session.told = outlet.send
            threading.Thread(target=_report, args=(session, outlet, over), daemon=True).start()
            gc.freeze()  # what was imported stays
            gc.enable()
            outlet.send({"event": "ready", "address": address()})
            print(f"the server was ready after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
            calls = Calls(session, address)
            for line in sys.stdin:
                pool.submit(_answer, calls, outlet, line)
    except UpscalerError as error:
        outlet.send({"event": "failed", "error": " ".join(cause_and_remedy(error))})
        return error.exit_code
    finally:
        over.set()
    return 0
