"""A job: a run of the engine for one picture, as front ends see it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from upscaler.arrays.types import Array
from upscaler.events import Event, Finished, Notice, Progress, Stage
from upscaler.forecast import Forecast
from upscaler.geometry import Box
from upscaler.options.settings import Settings
from upscaler.pictures.picture import Picture
from upscaler.plan import RunPlan

from .live import LiveView


class State(str, Enum):
    """What has become of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        return self in (State.FINISHED, State.STOPPED, State.FAILED)


@dataclass(eq=False)
class Job:
    """One picture to enlarge.

    Attributes:
        source: the original file.
        name: what its user calls the picture, without a folder or suffix.
        settings: what to do with it.
        region: only this part of the result, in its pixels.
        mask: where the result may be redrawn, (h, w) in [0, 1]; `None` is everywhere.
        lasts: whether it is noted on the disk until it is over, so that no end of the program loses it.
        told: called in the job's thread after each event, with the job.
        done: called in the job's thread when it is over, with the job; it may take the result before it is let go.
        original: the source as it was read, for as long as the job is at work.
        picture: the result, or what was finished of it when the job was stopped; `None` before that.
        files: what `done` wrote for the front end.
        shown: of an area, the original and the result as data URIs.
        view: the canvas as it grows.
        forecast: how far it is and how long it still takes; `None` until its models are loaded.
        expected: seconds that it is taken to need, once somebody has asked.
        kept: where its finished tiles are kept, until the result is written; `None` for a short one.
        left: it was stopped since the program ends, and is for the next start.
    """

    source: Path
    name: str
    settings: Settings
    region: Box | None = None
    mask: Array | None = None
    lasts: bool = False
    told: Callable[[Job], None] = lambda job: None
    done: Callable[[Job], None] = lambda job: None
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    state: State = State.WAITING
    plan: RunPlan | None = None
    progress: Progress | None = None
    finished: Finished | None = None
    original: Picture | None = None
    picture: Picture | None = None
    files: tuple[Path, ...] = ()
    shown: tuple[str, str] | None = None
    view: LiveView = field(default_factory=LiveView)
    notices: list[str] = field(default_factory=list)
    error: BaseException | None = None
    started: float = 0.0
    ended: float = 0.0
    forecast: Forecast | None = None
    expected: float | None = None
    kept: Path | None = None
    left: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    def stop(self, *, leave: bool = False) -> None:
        """Ask the job to stop after the step at work; what was finished is kept.

        Args:
            leave: the rest is for the next start, unless its user has stopped it before.
        """
        self.left = leave if not self.stopping else self.left
        self._stop.set()
        if self.state is State.WAITING:
            self.state = State.STOPPED

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def elapsed(self) -> float:
        """Seconds that it took, without pauses; 0 until it is over."""
        return self.ended - self.started if self.ended else 0.0

    @property
    def worth_keeping(self) -> bool:
        """Whether there is more than a half enlarged picture."""
        return self.finished is not None or (self.progress is not None and self.progress.stage is not Stage.ENLARGE)

    def note(self, event: Event) -> None:
        """Bring the job up to date with an event of its run."""
        if isinstance(event, Notice):
            self.notices.append(event.message)
        elif isinstance(event, Progress):
            if self.forecast is not None:
                self.forecast.note(event)
            self.view.show(event)
            self.progress = event
        else:
            self.finished, self.picture = event, event.picture
