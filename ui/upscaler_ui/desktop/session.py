"""The session of the window's user: pictures are read where they lie, and results are put where they are wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from upscaler.arrays.types import Array
from upscaler.errors import UpscalerError
from upscaler.folders import state_folder
from upscaler.options.settings import Settings
from upscaler.planning import plan

from ..app.failures import cause_and_remedy
from ..app.history import Entry, History
from ..app.inputs import Input
from ..app.job import Job
from ..app.jobs import Worker
from ..app.session import Session
from .deliver import home_of, put
from .folders import Watch, ending, is_finished, result_stem, sources_below
from .queue import Queue, Waiting

_SAVED = "saved.txt"  # in an entry of the history: where its result was put


class DesktopSession(Session):
    """Jobs, history and queue of the window.

    Attributes:
        place: the folder for results; `None` is beside each source.
        told: called with a dictionary when a job is over.
        shown: id of the result that the page shows.
        choice: how often pictures were chosen, and which; the page looks at them when the number has changed.
        skipped: how many pictures of the last run were left out, as they have a result.
        watched: the folder that is watched, and the look that is used for it.
    """

    def __init__(self, folder: Path, scratch: Path, worker: Worker) -> None:
        super().__init__(folder, scratch, worker)
        self._granted: dict[Path, Path | None] = {}
        self.history: History = _HistoryOfPaths(folder, self._granted)
        self.queue = Queue(state_folder() / "desktop-queue.json")
        self.place: Path | None = None
        self.told: Callable[[dict[str, Any]], None] = lambda event: None
        self.shown: str | None = None
        self.choice: tuple[int, list[Path]] = (0, [])
        self.skipped = 0
        self._watch: Watch | None = None
        self._choosing = threading.Lock()

    def choose(self, paths: Iterable[Path]) -> int:
        """Let the page look at these pictures, and those in these folders; returns how many pictures that are."""
        found: dict[Path, Path | None] = {}
        for path in paths:
            path = path.absolute()
            found |= dict.fromkeys(sources_below(path), path) if path.is_dir() else {path: None}
        with self._choosing:
            self._granted.update(found)
            self.skipped = 0
            self.choice = (self.choice[0] + 1, list(found))
        return len(found)

    def granted(self, path: Path) -> bool:
        """Whether the user chose this path, so that it is read where it lies."""
        return path in self._granted

    @property
    def watched(self) -> tuple[Path, str] | None:
        return (self._watch.folder, self._watch.look) if self._watch else None

    def watch(self, folder: Path, look: str, settings: Callable[[], Settings]) -> None:
        """Enlarge what is in this folder and what comes into it from now on.

        Args:
            look: what it is called.
            settings: those of the look; asked for when pictures have come.
        """
        if self._watch is not None:
            self._watch.stop()

        def taken(paths: list[Path]) -> None:
            self._granted.update(dict.fromkeys(paths, folder))
            self.skipped = 0
            self.start([Input.of(path, whole=False) for path in paths], settings())

        self._watch = Watch(folder, look, taken, state_folder() / "desktop-watch.json", lambda: self.place)

    def stop_watching(self) -> None:
        """Let the folder be."""
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def start(self, inputs: Sequence[Input], settings: Settings, mask: Array | None = None) -> list[Job]:
        """As `Session.start`, without those pictures of a folder whose results are there already.

        A file does not tell whether a mask was used, so that a picture with one is enlarged anyhow.
        """
        readable = [item for item in inputs if item.error is None]
        wanted = [item for item in readable if mask is not None or not self._is_finished(item, settings)]
        self.skipped += len(inputs) - len(wanted)
        return super().start(wanted, settings, mask)

    def _is_finished(self, item: Input, settings: Settings) -> bool:
        root = self._granted.get(item.path)
        if root is None or not all(item.size):
            return False
        try:
            target = plan(item.size, settings).target
        except UpscalerError:  # told when its turn comes
            return False
        stem = result_stem(item.path, item.name, item.size, target)
        result = home_of(item.path, root, self.place) / f"{stem}{ending(settings)}"
        return is_finished(item.path, result, settings)

    def submit(self, jobs: list[Job]) -> list[Job]:
        """As `Session.submit`; the pictures with a place of their own are also in the queue on the disk."""
        own = [job for job in jobs if job.region is None and self.granted(job.source)]  # an area is only for looking at
        waiting = (Waiting(job.source, self._granted[job.source], job.name, job.settings, job.mask) for job in own)
        self.queue.add({job.id: item for job, item in zip(own, waiting)})
        return super().submit(jobs)

    @property
    def unfinished(self) -> int:
        """How many pictures an earlier start did not finish."""
        return len(self.queue.left) + len(self.drafts.left)

    def leave(self) -> None:
        """The program ends: stop every job after the step at work, and leave the rest for the next start."""
        if self._watch is not None:
            self._watch.stop()
        for job in self.jobs:
            job.stop(leave=True)

    def resume(self) -> None:
        """Begin again with what an earlier start did not finish."""
        left = self.queue.left
        self._granted.update({item.source: item.root for item in left})
        with self.queue.together():
            for item in left:
                self.start([Input(item.source, item.name)], item.settings, item.mask)
            self.queue.forget_left()
        for draft in self.drafts.left:
            with suppress(UpscalerError):  # it stays in the list on the page, which says what is wrong with it
                self.go_on(draft)

    def forget_left(self) -> None:
        """Leave it unfinished for good."""
        self.queue.forget_left()
        for draft in self.drafts.left:
            self.drop(draft)

    def take(self, job: Job) -> None:
        """Only what has no place of its own needs a copy."""
        if not self.granted(job.source):
            super().take(job)
        done = job.done

        def over(job: Job) -> None:
            error: BaseException | None = None
            try:
                done(job)
            except BaseException as failed:
                error = failed
                raise
            finally:
                if not job.left or (job.finished is not None and error is None):
                    self.queue.over(job.id)
                self._tell(job, job.error or error)

        job.done = over

    def keep(self, job: Job) -> None:
        """Put a result into the history, and beside its source or wherever results go."""
        if job.picture is None or not job.worth_keeping:
            return
        entry = self.history.add(job, job.picture)
        if job.finished is None or job.plan is None or not self.granted(job.source):
            return
        source, root = job.source, self._granted[job.source]
        stem = result_stem(source, job.name, job.plan.source, job.plan.target)
        try:
            saved = put(entry.result_path, home_of(source, root, self.place), stem)
        except UpscalerError as error:  # the result is not lost: it is in the history
            job.notices.append(str(error))
            return
        with suppress(OSError):
            (entry.folder / _SAVED).write_text(str(saved), "utf-8")

    def saved(self, entry: Entry) -> Path | None:
        """Where the result of an entry was put, if it is still there."""
        with suppress(OSError, ValueError):
            path = Path((entry.folder / _SAVED).read_text("utf-8"))
            return path if path.is_absolute() and path.is_file() else None
        return None

    def _tell(self, job: Job, error: BaseException | None) -> None:
        entry = self.history.get(job.id)
        saved = self.saved(entry) if entry else None
        state = "failed" if error else "finished" if job.finished else "stopped"
        cause = cause_and_remedy(error)[0] if error else ""
        area = job.region is not None
        result = {"name": job.name, "state": state, "saved": str(saved or ""), "cause": cause, "area": area}
        self.told({"event": "over", **result})


class _HistoryOfPaths(History):
    """A history that names the originals which have a place of their own, and does not copy them."""

    def __init__(self, folder: Path, granted: dict[Path, Path | None]) -> None:
        super().__init__(folder)
        self._granted = granted

    def source_name(self, job: Job) -> str:
        return str(job.source) if job.source in self._granted else super().source_name(job)


def for_other_pictures(settings: Settings) -> Settings:
    """The settings as they are remembered: with a factor or megapixels, but without sides, which belong to one picture."""
    target = settings.target
    return replace(settings, target=Settings().target) if target.width or target.height else settings
