"""Runs of the engine inside a node: the host's progress, previews and interruption."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import comfy.utils
import PIL.Image
from comfy import model_management

from ....upscaler.events import Event, Finished, Notice, Progress, Stage
from ....upscaler.forecast import Forecast
from ....upscaler.pictures.picture import Picture
from ....upscaler.text import duration
from ....upscaler.timing import Expected
from .pictures import preview

log = logging.getLogger("upscaler")

_SCALE = 1000  # parts of the bar
_PREVIEW_SIDE, _PREVIEW_SECONDS = 1024, 0.5
_LOG_SECONDS = 10.0  # between two lines on the time left


class Bar:
    """The node's progress bar over all pictures and stages, with the growing canvas as its preview."""

    def __init__(self, expected: Mapping[Stage, Expected], pictures: int) -> None:
        """
        Args:
            expected: what each stage will take, for one picture.
        """
        self._expected = expected
        self._pictures = pictures
        self._event: Progress | None = None
        self._told = self._looked = 0.0
        self._logged = time.monotonic()
        self.start(0)
        self._bar = comfy.utils.ProgressBar(_SCALE)

    def start(self, picture: int) -> None:
        """The next events are of this picture of the batch."""
        self._picture = picture
        self._forecast = Forecast(self._expected)

    def show(self, event: Progress) -> None:
        """Raises: the host's exception, when the user interrupted the run."""
        self._event = event
        model_management.throw_exception_if_processing_interrupted()
        self._forecast.note(event)
        value = round(_SCALE * (self._picture + self._forecast.fraction) / self._pictures)
        now = time.monotonic()
        if now - self._logged > _LOG_SECONDS:
            self._logged = now
            log.info("%d %%, about %s left", value * 100 // _SCALE, duration(self._left))
        if event.picture is not None and event.step == 0 and now - self._looked > _PREVIEW_SECONDS:
            self._looked, self._told = now, max(value, self._told)
            image = PIL.Image.fromarray(preview(event.picture, _PREVIEW_SIDE))
            self._bar.update_absolute(self._told, _SCALE, ("JPEG", image, _PREVIEW_SIDE))
        elif value > self._told:  # steps that a batch has told already come again when it is done
            self._told = value
            self._bar.update_absolute(value, _SCALE)

    @property
    def _left(self) -> float:
        """Seconds until all pictures are done."""
        left, done = self._forecast.left, self._forecast.fraction
        one = left / (1 - done) if done < 1 else sum(stage.seconds for stage in self._expected.values())
        return left + one * (self._pictures - self._picture - 1)

    def step(self, step: int, of: int) -> None:
        """A model's step within the batch of the last event. Raises: as `show`."""
        if self._event is not None:
            self.show(replace(self._event, step=step, steps=of))


def show(events: Iterator[Event], bar: Bar, *, after_enlarging: Callable[[], None] = lambda: None) -> Picture:
    """Run the events to their end, with progress; the picture that they end with.

    Args:
        after_enlarging: called when the super-resolution model is not needed any more.
    """
    with closing(cast(Any, events)):
        for event in events:
            if isinstance(event, Notice):
                log.info("%s", event.message)
            elif isinstance(event, Finished):
                return event.picture
            else:
                if event.stage is not Stage.ENLARGE:
                    after_enlarging()
                bar.show(event)
    raise AssertionError("a run ends with Finished")
