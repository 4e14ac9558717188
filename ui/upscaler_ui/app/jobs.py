"""The one thread in which jobs run, one at a time, whoever asked for them.

A front end submits jobs and looks at them; what it sees is always the latest state, however long a step takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from upscaler import resume, timing
from upscaler.api import run
from upscaler.errors import UpscalerError
from upscaler.events import Finished
from upscaler.forecast import Forecast
from upscaler.loading import refiner_for, upscaler_for
from upscaler.options.settings import Settings
from upscaler.pictures.files import load
from upscaler.pictures.picture import Picture
from upscaler.planning import plan

from .job import Job, State
from .kept import KeptTiles
from .pause import Pause

_WORTH_KEEPING = 60.0  # seconds of a run above which its progress is kept


class Worker:
    """The one thread in which jobs run, in the order in which they came. It keeps the models of the last job loaded.

    Args:
        idle: after so many seconds without a job their memory is given back; `None` keeps them.
        progress: a folder for the finished tiles of runs that take long, so that one that was stopped or killed goes on
            when the same is asked for again; `None` keeps none.
    """

    def __init__(self, idle: float | None = None, *, progress: Path | None = None) -> None:
        self._idle = idle
        self._progress = progress
        if progress is not None:
            resume.drop_old(progress)
        self._timer: threading.Timer | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._models: dict[str, tuple[tuple[Any, ...], Any]] = {}
        self._jobs: list[Job] = []
        self._closed = False
        self._kept = KeptTiles()
        self._lock = threading.Lock()
        self._pause = Pause()

    def submit(self, job: Job) -> Job:
        """Run the job when those before it are over."""
        with self._lock:
            self._jobs = [*(other for other in self._jobs if not other.state.over), job]
            self._thread.submit(self._run, job)
            self._thread.submit(self._wait_for_idleness)
        return job

    def forget(self, name: str) -> None:
        """Remove the progress of that name, from `Job.kept`, which nobody wants to go on from."""
        if self._progress is not None and resume.is_kept(self._progress / Path(name).name):
            resume.drop(self._progress / Path(name).name)

    def warm_up(self) -> None:
        """Load the usual models, so that the first job begins at once; it also reports what is wrong with them."""

        def load() -> None:
            with suppress(UpscalerError):
                self._loaded("gan", upscaler_for, Settings())
                self._loaded("diffusion", refiner_for, Settings())

        self._thread.submit(load)
        self._thread.submit(self._wait_for_idleness)

    @property
    def load(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        states = [job.state for job in self._jobs]
        return states.count(State.RUNNING), states.count(State.WAITING)

    @property
    def works(self) -> bool:
        """Whether jobs are still taken; False once the worker is closed or has lost its thread."""
        threads = self._thread._threads  # pyright: ignore[reportPrivateUsage]
        return not self._closed and all(thread.is_alive() for thread in threads)

    def ahead(self, job: Job) -> int:
        """How many jobs come before this one."""
        jobs = self._jobs
        before = jobs[: jobs.index(job)] if job in jobs else []
        return sum(not other.state.over for other in before)

    @property
    def _at_end(self) -> bool:
        """Whether every job is over; asked with the lock held."""
        return all(job.state.over for job in self._jobs)

    @property
    def paused(self) -> bool:
        """Whether all jobs rest."""
        return self._pause.on

    def pause(self) -> None:
        """Let the job at work rest after its step, and the others not begin; without any there is nothing to pause."""
        with self._lock:
            if not self._at_end:
                self._pause.begin()

    def resume(self) -> None:
        """Go on; so does the worker by itself when every job is over."""
        self._pause.end()

    def close(self) -> None:
        """The program ends: stop every job after the step at work, wait for that, and leave the rest for the next start."""
        self._closed = True
        for job in self._jobs:
            job.stop(leave=True)
        self._thread.shutdown(wait=True)
        if self._timer is not None:
            self._timer.cancel()

    def release(self) -> None:
        """Give back the memory of the models, in the thread of the jobs; the next job loads them again."""
        if self._models:
            from upscaler.models.device import release_memory

            self._models.clear()
            release_memory()

    def _wait_for_idleness(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._idle is not None:
            self._timer = threading.Timer(self._idle, self._at_rest)
            self._timer.daemon = True
            self._timer.start()

    def _at_rest(self) -> None:
        with self._lock, suppress(RuntimeError):  # it was closed
            if self._at_end:
                self._thread.submit(self.release)

    def _rest(self, job: Job) -> None:
        """Wait in the thread of the jobs until there is no pause, or until the job is stopped."""
        self._pause.wait(lambda: job.stopping)

    def _run(self, job: Job) -> None:
        self._rest(job)
        if job.stopping:
            job.done(job)
        else:
            self._carry_out(job)
        with self._lock:
            if self._at_end:
                self._pause.end()

    def _carry_out(self, job: Job) -> None:
        job.state, job.started = State.RUNNING, self._pause.clock()
        outcome = State.FAILED
        try:
            outcome = self._events(job)
        except Exception as error:  # whatever it is, it belongs to this job and is shown there
            job.error = error
        job.ended = self._pause.clock()
        if job.picture is None and job.progress is not None:
            job.picture = job.progress.picture
        try:
            job.done(job)
        except Exception as error:
            job.error = job.error or error
            outcome = State.FAILED
        if outcome is State.FINISHED and job.kept is not None:  # the result is written
            resume.drop(job.kept)
        job.original = job.picture = job.finished = None  # large; what is wanted of them has been written
        job.progress = None if job.progress is None else replace(job.progress, picture=None)
        job.state = outcome

    def _events(self, job: Job) -> State:
        settings = job.settings
        job.original = picture = load(job.source, max_pixels=settings.output.pixel_limit)
        job.plan = plan(picture, settings, region=job.region)
        job.view.start(picture, job.plan.target)
        upscaler = self._kept.of(self._loaded("gan", upscaler_for, settings), settings, keep=job.region is not None)
        refiner = self._loaded("diffusion", refiner_for, settings)
        job.forecast = Forecast(timing.expected(job.plan, settings), clock=self._pause.clock)
        paused = self._pause.seconds
        kept = self._progress_of(job, picture)
        job.kept = kept and kept.folder
        goes_on = kept is not None and resume.is_kept(kept.folder)
        events = run(
            picture,
            settings,
            upscaler=upscaler,
            refiner=refiner,
            region=job.region,
            mask=job.mask,
            progress=kept,
            hold=lambda: self._pause.wait(lambda: job.stopping),
        )
        with closing(events):  # type: ignore[type-var]
            for event in events:
                job.note(event)
                job.told(job)
                if isinstance(event, Finished):  # progress stays until the result is written
                    break
                self._rest(job)
                if job.stopping:
                    return State.STOPPED
        disturbed = goes_on or self._pause.seconds != paused
        if job.finished is not None and job.region is None and not disturbed:
            timing.learn(job.plan, settings, job.finished.seconds)
        return State.FINISHED

    def _progress_of(self, job: Job, picture: Picture) -> resume.Kept | None:
        """Where the progress of a job is kept, if it takes long enough."""
        assert job.plan is not None
        if self._progress is None or job.region is not None or timing.estimate(job.plan, job.settings) < _WORTH_KEEPING:
            return None
        described = resume.describe_run(picture, job.settings, region=None, mask=job.mask)
        return resume.Kept(self._progress / resume.name_of(described), described)

    def _loaded(self, kind: str, load: Callable[[Settings], Any], settings: Settings) -> Any:
        """The model that the settings name, from the job before if it was the same."""
        wanted = (settings.hardware, settings.gan.model)
        if kind == "diffusion":
            wanted = (
                settings.hardware,
                settings.diffusion.model,
                settings.diffusion.control,
                settings.diffusion.vae,
                settings.diffusion.lora,
                settings.diffusion.embedding,
                settings.diffusion.clip_skip,
                settings.diffusion.strength > 0,
            )
        key, model = self._models.get(kind, (None, None))
        if key != wanted:
            self._models.pop(kind, None)  # free before the next one comes
            del model
            model = load(settings)
            self._models[kind] = (wanted, model)
        return model
