"""What one open page of a browser looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from upscaler.arrays.types import Array
from upscaler.errors import UpscalerError
from upscaler.geometry import MAX_PIXELS
from upscaler.options.settings import Settings
from upscaler.plan import RunPlan

from .inputs import Input
from .job import Job
from .looks import DEFAULT

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
        sees_models: whether the page of models is open.
        library: how often it was looked for models.
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
    sees_models: bool = False
    library: int = 0
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
        """All of the first one that can be read, which is shown; of the others only the size."""
        self.max_pixels = max_pixels
        self.inputs = []
        for path in paths:
            self.inputs.append(Input.of(path, max_pixels=max_pixels, whole=not self.readable))

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
        self.jobs = [job for job in self.jobs if not job.state.over and job not in jobs] + list(jobs)
        self.shown = None

    def send(self, name: str, value: object) -> bool:
        """Whether this is something else than the browser has of that part; from now on it counts as sent."""
        if name in self.sent and self.sent[name] == value:
            return False
        self.sent[name] = value
        return True
