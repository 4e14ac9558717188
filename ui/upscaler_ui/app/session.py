"""What a user has: results and jobs."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from upscaler.arrays.types import Array
from upscaler.geometry import Box
from upscaler.options.settings import Settings

from .drafts import Draft, Drafts, hold
from .exchange import new_result
from .history import History
from .inputs import Input
from .job import Job, State
from .jobs import Worker
from .results import file_name, save_result
from .views import data_uri, enlarged_part, whole


class Session:
    """The history and the jobs of one user.

    Attributes:
        scratch: a folder for files that are handed to the browser and then forgotten.
    """

    def __init__(self, folder: Path, scratch: Path, worker: Worker) -> None:
        self.history = History(folder)
        self.drafts = Drafts(folder / ".unfinished", self._has_result)
        self.scratch = scratch
        self.worker = worker
        self.jobs: list[Job] = []
        self._lock = threading.Lock()

    def _has_result(self, id: str) -> bool:
        entry = self.history.get(id)
        return entry is not None and entry.complete

    def start(self, inputs: Sequence[Input], settings: Settings, mask: Array | None = None) -> list[Job]:
        """A job for each picture; the results go into the history."""
        jobs = [Job(item.path, item.name, settings, mask=mask, lasts=True, done=self.keep) for item in inputs]
        return self.submit(jobs)

    def go_on(self, draft: Draft) -> list[Job]:
        """Go on with what an earlier program did not finish."""
        jobs = self.start([Input(draft.source, draft.name)], draft.settings, draft.mask)
        self.drafts.forget(draft.id)
        return jobs

    def drop(self, draft: Draft) -> None:
        """Do not go on with it, ever."""
        self.drafts.forget(draft.id)
        if draft.kept:
            self.worker.forget(draft.kept)

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
        done = job.done
        place = self.drafts.begin(job) if job.lasts else self._place()

        def over(job: Job) -> None:
            try:
                done(job)
            finally:
                if job.lasts:
                    self.drafts.over(job)
                else:
                    shutil.rmtree(place, ignore_errors=True)

        job.source, job.done, job.told = hold(job.source, place), over, self.drafts.note

    def hold(self, path: Path) -> Path:
        """A picture under another path, so that it stays when the first one goes. Raises: as `drafts.hold`."""
        return hold(path, self._place())

    def _place(self) -> Path:
        folder = self.scratch / "originals" / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder

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
