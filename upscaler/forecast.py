"""How far a run is and how long it still takes, as one figure each over all its stages.

What a stage is expected to take (`timing.expected`) gives way to what it shows: after 5 % of a stage its own speed
counts, the more the further it is, and what one stage was off by is taken to hold for the next ones too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from .events import Progress, Stage
from .timing import Expected

_FROM = 0.05  # of a stage, from which on its speed counts
_DOUBT_LEARNED, _DOUBT_SHIPPED = 0.1, 0.005  # parts of a stage that weigh as much as what was expected of it
_SLIGHT = 0.05  # of a stage; what took less in another one says little about it
_MOMENT = 1e-6  # seconds
_LEAST_SHARE = 0.1  # of what was left at the last event that is still left, however long that is ago


class Forecast:
    """Progress and time left of one run. `note` takes its events; the rest can be asked at any time, from any thread."""

    def __init__(self, expected: Mapping[Stage, Expected], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count: make it when the run begins, with its models loaded.

        Args:
            expected: of each stage, in their order; from `timing.expected`.
            clock: seconds from any moment on.
        """
        self._expected = dict(expected)
        self._clock = clock
        self._stage, self._stage_begin = next(iter(self._expected)), clock()
        self._part = 0.0  # of the stage at work
        self._over: dict[Stage, float] = {}  # seconds that each finished stage took
        self._begin = self._stage_begin
        self._left, self._at = sum(stage.seconds for stage in self._expected.values()), self._stage_begin
        self._fraction = 0.0

    def note(self, event: Progress) -> None:
        """Bring it up to date."""
        now = self._clock()
        if event.stage is not self._stage:  # it began when the one before it ended; this is its first sign of life
            self._over[self._stage] = self._at - self._stage_begin
            self._stage, self._stage_begin, self._part = event.stage, self._at, 0.0
        self._part = max(self._part, event.fraction)
        self._left, self._at = self._seconds_left(now - self._stage_begin), now
        self._fraction = max(self._fraction, self._share_done())

    @property
    def fraction(self) -> float:
        """Finished part of the run, 0 to 1: its stages count as long as they were expected to take. It never falls."""
        return self._fraction

    @property
    def left(self) -> float:
        """Seconds until the run is over."""
        return max(self._left - (self._clock() - self._at), self._left * _LEAST_SHARE)

    @property
    def pace(self) -> float:
        """How many times as long as expected the run takes, after what it has shown."""
        expected = sum(stage.seconds for stage in self._expected.values())
        return (self._at - self._begin + self._left) / expected if expected > 0 else 1.0

    def _seconds_left(self, spent: float) -> float:
        """Seconds until the run is over, when so many were spent in the stage at work."""
        at_work = self._expected.get(self._stage, Expected(0.0, learned=False))
        whole = at_work.seconds * self._slowness(self._over, at_work)
        seen = dict(self._over)
        if self._part >= _FROM:
            doubt = _DOUBT_LEARNED if at_work.learned else _DOUBT_SHIPPED
            told = self._part / (self._part + doubt)
            whole = max(whole, _MOMENT) ** (1 - told) * max(spent / self._part, _MOMENT) ** told
            seen[self._stage] = whole
        left = max(whole - spent, 0.0) if self._part < 1 else 0.0
        later = [stage for name, stage in self._expected.items() if _after(name, self._stage)]
        return left + sum(stage.seconds * self._slowness(seen, stage) for stage in later)

    def _slowness(self, seen: Mapping[Stage, float], stage: Expected) -> float:
        """The factor by which a stage will take longer than expected, after what was seen of others, in seconds."""
        expected = sum(self._expected[name].seconds for name in seen if name in self._expected)
        taken = sum(seconds for name, seconds in seen.items() if name in self._expected)
        if expected <= 0 or taken <= 0:
            return 1.0
        slight = _SLIGHT * stage.seconds
        factor = (taken + slight) / (expected + slight)
        return math.sqrt(factor) if stage.learned else factor

    def _share_done(self) -> float:
        total = sum(stage.seconds for stage in self._expected.values()) or 1.0
        before = sum(stage.seconds for name, stage in self._expected.items() if _after(self._stage, name))
        at_work = self._expected.get(self._stage)
        return min((before + (at_work.seconds * self._part if at_work else 0.0)) / total, 1.0)


def _after(stage: Stage, other: Stage) -> bool:
    order = list(Stage)
    return order.index(stage) > order.index(other)
