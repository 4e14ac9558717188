"""What a user has: results and jobs, and for each open page what it looks at."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upscaler.arrays.types import Array
from upscaler.errors import ImageError, UpscalerError
from upscaler.geometry import MAX_PIXELS, Box
from upscaler.options.settings import Settings
from upscaler.plan import RunPlan

from .exchange import Exchange, new_result
from .history import History
from .inputs import Input
from .jobs import Job, State, Worker
from .looks import DEFAULT
from .results import file_name, save_result
from .views import data_uri, enlarged_part, whole

KEPT_PAGES = 200
LISTED = 40
"""How many results are listed until more are asked for."""


@dataclass
class Page:
    """What one open page of a browser looks at.

    Attributes:
        inputs: the chosen pictures.
        max_pixels: the limit that they were read with.
        jobs: those that were started here and are followed, oldest first.
        planned: what a run of the first picture would do, or why it cannot.
        settings: those that the form showed last, as far as they are valid.
        look: the preset that was chosen last, by its name.
        shown: the result on show, by its id.
        region: the marked area, as fractions left, top, right, bottom of the picture.
        mask: where the first picture may change, (h, w) in [0, 1]; `None` is everywhere. `painted` counts how often it was.
        removed: the result that was taken out of the history last, by its id and name; it can be brought back.
        filter: only results whose name or look contains this are listed.
        listed: how many results are listed at most.
        sheet: looks that are compared, each with its job.
        sent: what the browser has, by the name of the part.
        reported: ids of the jobs whose end the browser knows.
    """

    inputs: list[Input] = field(default_factory=list[Input])
    max_pixels: int | None = MAX_PIXELS
    jobs: list[Job] = field(default_factory=list[Job])
    planned: tuple[RunPlan, Settings] | UpscalerError | None = None
    settings: Settings = field(default_factory=Settings)
    look: str = DEFAULT
    shown: str | None = None
    region: tuple[float, float, float, float] | None = None
    mask: Array | None = None
    painted: int = 0
    removed: tuple[str, str] | None = None
    filter: str = ""
    listed: int = LISTED
    sheet: list[tuple[str, Job]] = field(default_factory=list["tuple[str, Job]"])
    sent: dict[str, object] = field(default_factory=dict[str, object])
    reported: set[str] = field(default_factory=set[str])

    def choose(self, paths: Sequence[Path], max_pixels: int | None) -> None:
        """Look at these pictures, none of them larger than `max_pixels`, and no more at what was made of others."""
        self.region = self.shown = self.mask = None
        self.jobs = [job for job in self.jobs if not job.state.over]
        self._read(paths, max_pixels)

    def limit(self, max_pixels: int | None) -> bool:
        """Allow the chosen pictures so many pixels; read them again, and return true, if that is another number."""
        changed = max_pixels != self.max_pixels
        if changed:
            self._read([item.path for item in self.inputs], max_pixels)
        return changed

    def _read(self, paths: Sequence[Path], max_pixels: int | None) -> None:
        self.max_pixels = max_pixels
        self.inputs = [Input.of(path, max_pixels=max_pixels, whole=index == 0) for index, path in enumerate(paths)]

    @property
    def readable(self) -> list[Input]:
        """The chosen pictures that can be read."""
        return [item for item in self.inputs if item.error is None]

    def paint(self, mask: Array | None) -> None:
        """Another mask for the first picture; `None` clears it."""
        self.mask = mask
        self.painted += 1

    def mask_of(self, item: Input) -> Array | None:
        """The mask that was painted for a picture: for the first one alone."""
        return self.mask if self.readable and item is self.readable[0] else None

    @property
    def current(self) -> Job | None:
        """The job to look at: the one at work, else the next one, else the last one."""
        return next((job for job in self.jobs if not job.state.over), self.jobs[-1] if self.jobs else None)

    @property
    def busy(self) -> bool:
        return any(not job.state.over for job in self.jobs)

    def follow(self, jobs: Sequence[Job]) -> None:
        """Look at these jobs from now on, after those that are not over yet."""
        self.jobs = [job for job in self.jobs if not job.state.over] + list(jobs)
        self.shown = None

    def send(self, name: str, value: object) -> bool:
        """Whether this is something else than the browser has of that part; from now on it counts as sent."""
        if name in self.sent and self.sent[name] == value:
            return False
        self.sent[name] = value
        return True


class Session:
    """The history and the jobs of one user.

    Attributes:
        scratch: a folder for files that are handed to the browser and then forgotten.
    """

    def __init__(self, folder: Path, scratch: Path, worker: Worker) -> None:
        self.history = History(folder)
        self.scratch = scratch
        self.worker = worker
        self.jobs: list[Job] = []
        self._lock = threading.Lock()

    def start(self, inputs: Sequence[Input], settings: Settings, mask: Array | None = None) -> list[Job]:
        """A job for each picture; the results go into the history."""
        return self.submit([Job(item.path, item.name, settings, mask=mask, done=self.keep) for item in inputs])

    def preview(self, item: Input, settings: Settings, region: Box, mask: Array | None = None) -> Job:
        """A job for a part of the result, for looking at only: `Job.shown` will be the original and the result."""
        job = Job(item.path, item.name, settings, region=region, mask=mask, done=self._keep_preview)
        return self.submit([job])[0]

    def run(self, path: Path, settings: Settings, id: str) -> Job:
        """A job whose result is a file in the scratch folder, for a program that asks for it."""
        return self.submit([Job(path, path.stem, settings, id=id, done=self._keep_file)])[0]

    @property
    def busy(self) -> bool:
        return any(not job.state.over for job in self.jobs)

    def job(self, id: str) -> Job | None:
        return next((job for job in self.jobs if job.id == id), None)

    def forget(self, job: Job) -> None:
        """Take a job that is over from the list."""
        with self._lock:
            self.jobs = [other for other in self.jobs if other is not job]

    def submit(self, jobs: list[Job]) -> list[Job]:
        """Have these jobs run, after those that wait already."""
        for job in jobs:
            self.take(job)
        with self._lock:
            over = [job for job in self.jobs if job.state is State.FAILED][-100:]
            self.jobs = [*over, *(job for job in self.jobs if not job.state.over), *jobs]
        for job in jobs:
            self.worker.submit(job)
        return jobs

    def take(self, job: Job) -> None:
        """Give the job an original of its own until it is over: whoever chose the picture may delete it before that."""
        held, done = self.hold(job.source), job.done

        def over(job: Job) -> None:
            try:
                done(job)
            finally:
                shutil.rmtree(held.parent, ignore_errors=True)

        job.source, job.done = held, over

    def hold(self, path: Path) -> Path:
        """The file under another path, in a scratch folder of its own, so that it stays when the first one goes.

        Raises:
            ImageError: it is gone already.
        """
        folder = self.scratch / "originals" / secrets.token_hex(16)
        folder.mkdir(parents=True)
        held = folder / path.name
        try:
            try:
                os.link(path, held)
            except OSError:  # another disk, or one without links
                shutil.copyfile(path, held)
        except OSError as error:
            raise ImageError(f"{path.name}: is no longer there; choose it again") from error
        return held

    def keep(self, job: Job) -> None:
        """Put the result of a job, or what was finished of it, into the history."""
        if job.picture is not None and job.worth_keeping:
            self.history.add(job, job.picture)

    def _keep_preview(self, job: Job) -> None:
        if job.finished is None or job.region is None or job.plan is None or job.original is None:
            return
        after = whole(job.finished.picture)
        before = enlarged_part(whole(job.original), job.plan.target, job.region)
        before.info["icc_profile"] = job.original.icc
        job.shown = data_uri(before, quality=95), data_uri(after, quality=95)

    def _keep_file(self, job: Job) -> None:
        if job.finished is None:
            return
        folder = new_result(self.scratch)
        path, notices = save_result(job.finished.picture, folder, f"{file_name(job.name)}-large", job.settings)
        job.files = (path,)
        job.notices += notices


class Sessions:
    """The sessions of all users and the pages of all browsers, with the worker that they share.

    Args:
        folder: where histories are kept; `None` forgets each page's with the page, for a server without a login.
        make: what a session is.
    """

    def __init__(
        self, folder: Path | None, worker: Worker, make: Callable[[Path, Path, Worker], Session] = Session
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="upscaler-", ignore_cleanup_errors=True)
        self.scratch = Path(self._temporary.name)
        self.folder = folder or self.scratch / "history"
        self.public = folder is None
        self.worker = worker
        self._make = make
        self._sessions: dict[str, Session] = {}
        self._pages: dict[str, Page] = {}
        self._lock = threading.Lock()
        self.exchange = Exchange(self.scratch, self._looked_at)
        self.exchange.keep_clean(self.forget_callers)

    def session(self, user: str | None, page: str) -> Session:
        """The session of a user, or of a page where nobody logs in."""
        owner = file_name(page if self.public else user or "local")
        with self._lock:
            if owner not in self._sessions:
                self._sessions[owner] = self._make(self.folder / owner, self.scratch, self.worker)
            return self._sessions[owner]

    def page(self, id: str) -> Page:
        """What the page of that id looks at."""
        with self._lock:
            page = self._pages.pop(id, None) or Page()
            self._pages[id] = page  # the newest last
            for old in list(self._pages)[:-KEPT_PAGES]:
                if not self._pages[old].busy:
                    del self._pages[old]
                    if self.public:
                        self._sessions.pop(file_name(old), None)
                        shutil.rmtree(self.folder / file_name(old), ignore_errors=True)
            return page

    def health(self) -> dict[str, Any]:
        """Whether the app can do its work, and how many jobs there are."""
        running, waiting = self.worker.load
        return {"status": "ok" if self.worker.works else "broken", "running": running, "waiting": waiting}

    def forget_callers(self) -> None:
        """Drop the sessions of programs that have no job any more, where each caller has one of its own."""
        with self._lock:
            pages = {file_name(page) for page in self._pages}
            for owner, session in list(self._sessions.items()):
                if self.public and owner not in pages and not session.busy:
                    del self._sessions[owner]
                    shutil.rmtree(self.folder / owner, ignore_errors=True)

    def _looked_at(self) -> set[Path]:
        with self._lock:
            return {item.path for page in self._pages.values() for item in page.inputs}

    def close(self) -> None:
        """Stop all jobs, keep what they finished, and drop what was only scratch."""
        self.exchange.close()
        self.worker.close()
        self._temporary.cleanup()
