"""What a user has on the desk: results, jobs, and for each open page what it looks at."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from upscaler.errors import ImageError, UpscalerError
from upscaler.geometry import MAX_PIXELS, Box, Size
from upscaler.options.settings import Settings
from upscaler.pictures.files import load, read_settings, save, size_in_header
from upscaler.plan import RunPlan

from .describe import picture_line, scrubbed
from .history import History, file_name, save_result
from .jobs import Job, State, Worker
from .pictures import LIVE_SIDE, data_uri, enlarged_part, reduced, whole

_KEPT_PAGES = 200
_NO_SIZE = Size(0, 0)


@dataclass(frozen=True)
class Input:
    """A picture that waits to be enlarged; of its pixels only a small copy is kept.

    Attributes:
        path: the original file.
        error: why it cannot be read; then the size is 0x0.
        settings: those that made it, where it is a result of ours.
    """

    path: Path
    name: str
    size: Size = _NO_SIZE
    line: str = ""
    thumb: str = ""
    notices: tuple[str, ...] = ()
    settings: Settings | None = None
    error: Exception | None = None

    @staticmethod
    def of(path: Path, name: str = "", *, max_pixels: int | None = MAX_PIXELS, whole: bool = True) -> Input:
        """The picture in a file, by default called as the file is. What is wrong with it is in `error`.

        Args:
            max_pixels: as in `upscaler.load`.
            whole: False looks at no more than the size, where the head of the file tells it.
        """
        name = name or path.stem
        try:
            size = None if whole else size_in_header(path, max_pixels=max_pixels)
            if size is not None:
                return Input(path, name, size)
            picture = load(path, max_pixels=max_pixels)
            stored = read_settings(path)
            settings = None
            if stored is not None:
                with suppress(UpscalerError):  # those of another version may not fit
                    settings = Settings.from_dict(stored)
            thumb = data_uri(reduced(picture, LIVE_SIDE))
            notices = tuple(scrubbed(notice) for notice in picture.notices)
            return Input(path, name, picture.size, picture_line(picture), thumb, notices, settings)
        except (UpscalerError, MemoryError) as error:
            return Input(path, name, error=error)


@dataclass
class Page:
    """What one open page of a browser looks at.

    Attributes:
        inputs: the chosen pictures.
        max_pixels: the limit that they were read with.
        jobs: those that were started here and are followed, oldest first.
        planned: what a run of the first picture would do, or why it cannot.
        shown: the result on show, by its id.
        region: the marked area, as fractions left, top, right, bottom of the picture.
        overlay: what is drawn over the picture.
        told: what the browser was last told, by the name of the part.
        over: jobs whose end the browser was told.
    """

    inputs: list[Input] = field(default_factory=list)
    max_pixels: int | None = MAX_PIXELS
    jobs: list[Job] = field(default_factory=list)
    planned: tuple[RunPlan, Settings] | UpscalerError | None = None
    shown: str | None = None
    region: tuple[float, float, float, float] | None = None
    overlay: str = ""
    told: dict[str, object] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)

    def choose(self, paths: Sequence[Path], max_pixels: int | None) -> None:
        """Look at these pictures, none of them larger than `max_pixels`, and no more at what was made of others."""
        self.region = self.shown = None
        self.jobs = [job for job in self.jobs if not job.state.over]
        self._read(paths, max_pixels)

    def limit(self, max_pixels: int | None) -> bool:
        """Let the chosen pictures have so many pixels; true where this was another number, so that they are read again."""
        changed = max_pixels != self.max_pixels
        if changed:
            self._read([item.path for item in self.inputs], max_pixels)
        return changed

    def _read(self, paths: Sequence[Path], max_pixels: int | None) -> None:
        self.max_pixels = max_pixels
        self.inputs = [Input.of(path, max_pixels=max_pixels, whole=index == 0) for index, path in enumerate(paths)]

    @property
    def good(self) -> list[Input]:
        """The chosen pictures that can be read."""
        return [item for item in self.inputs if item.error is None]

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

    def new(self, name: str, value: object) -> bool:
        """Whether the browser has not been told this yet; it counts as told from now on."""
        if name in self.told and self.told[name] == value:
            return False
        self.told[name] = value
        return True


class Desk:
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

    def start(self, inputs: Sequence[Input], settings: Settings) -> list[Job]:
        """A job for each picture; the results go into the history."""
        return self._submit([Job(item.path, item.name, settings, done=self._keep) for item in inputs])

    def preview(self, item: Input, settings: Settings, region: Box) -> Job:
        """A job for a part of the result, for looking at only: `Job.files` will be the original and the result."""
        return self._submit([Job(item.path, item.name, settings, region=region, done=self._keep_part)])[0]

    def run(self, path: Path, settings: Settings, id: str) -> Job:
        """A job whose result is a file in the scratch folder, for a program that asks for it."""
        return self._submit([Job(path, path.stem, settings, id=id, done=self._keep_file)])[0]

    def job(self, id: str) -> Job | None:
        return next((job for job in self.jobs if job.id == id), None)

    def forget(self, job: Job) -> None:
        """Take a job that is over from the list."""
        with self._lock:
            self.jobs = [other for other in self.jobs if other is not job]

    def _submit(self, jobs: list[Job]) -> list[Job]:
        for job in jobs:
            self._hold(job)
        with self._lock:
            over = [job for job in self.jobs if job.state is State.FAILED][-100:]
            self.jobs = [*over, *(job for job in self.jobs if not job.state.over), *jobs]
        for job in jobs:
            self.worker.submit(job)
        return jobs

    def _hold(self, job: Job) -> None:
        """Let the job have its original to itself until it is over: whoever gave it may delete it before."""
        held, done = self.held(job.source), job.done

        def over(job: Job) -> None:
            try:
                done(job)
            finally:
                shutil.rmtree(held.parent, ignore_errors=True)

        job.source, job.done = held, over

    def held(self, path: Path) -> Path:
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
            raise ImageError(f"{path.name}: is not there any more; choose it again") from error
        return held

    def _keep(self, job: Job) -> None:
        if job.picture is not None:
            self.history.add(job, job.picture)

    def _keep_part(self, job: Job) -> None:
        if job.finished is None or job.region is None or job.plan is None or job.original is None:
            return
        after = self.scratch / f"{job.id}-after.png"
        save(job.finished.picture, after, bit_depth=8, dither=job.settings.output.dither, metadata=False)
        before = enlarged_part(whole(job.original), job.plan.target, job.region)
        path = self.scratch / f"{job.id}-before.png"
        before.save(path, compress_level=1, icc_profile=job.original.icc)
        job.files = (path, after)

    def _keep_file(self, job: Job) -> None:
        if job.finished is None:
            return
        folder = self.scratch / job.id
        folder.mkdir()
        path, notices = save_result(job.finished.picture, folder, f"{file_name(job.name)}-large", job.settings)
        job.files = (path,)
        job.notices += notices


class Desks:
    """The desks of all users and the pages of all browsers, with the worker that they share.

    Args:
        folder: where histories are kept; `None` forgets each page's with the page, for a server without a login.
    """

    def __init__(self, folder: Path | None, worker: Worker) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="upscaler-", ignore_cleanup_errors=True)
        self.scratch = Path(self._temporary.name)
        self.folder = folder or self.scratch / "history"
        self.public = folder is None
        self.worker = worker
        self._desks: dict[str, Desk] = {}
        self._pages: dict[str, Page] = {}
        self._lock = threading.Lock()

    def desk(self, user: str | None, page: str) -> Desk:
        """The desk of a user, or of a page where nobody logs in."""
        owner = file_name(page if self.public else user or "local")
        with self._lock:
            if owner not in self._desks:
                self._desks[owner] = Desk(self.folder / owner, self.scratch, self.worker)
            return self._desks[owner]

    def page(self, id: str) -> Page:
        """What the page of that id looks at."""
        with self._lock:
            page = self._pages.pop(id, None) or Page()
            self._pages[id] = page  # the newest last
            for old in list(self._pages)[:-_KEPT_PAGES]:
                if not self._pages[old].busy:
                    del self._pages[old]
                    if self.public:
                        self._desks.pop(file_name(old), None)
                        shutil.rmtree(self.folder / file_name(old), ignore_errors=True)
            return page

    def close(self) -> None:
        """Stop all jobs, keep what they finished, and drop what was only scratch."""
        self.worker.close()
        self._temporary.cleanup()
