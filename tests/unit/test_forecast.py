"""One bar and one time left, over all stages of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import upscaler
from benchmarks import estimates
from upscaler import folders, timing
from upscaler.events import Progress, Stage
from upscaler.forecast import Forecast
from upscaler.geometry import Size
from upscaler.options.settings import Settings

SOURCE = Size(512, 512)


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def nothing_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "state_folder", lambda: tmp_path)


def forecast(clock: Clock, **options: object) -> Forecast:
    return Forecast(timing.expected(upscaler.plan(SOURCE, **options), Settings.of(**options)), clock=clock)


def progress(stage: Stage, part: float) -> Progress:
    return Progress(stage=stage, done=round(part * 100), total=100)


def test_it_begins_with_what_is_expected_and_counts_down() -> None:
    clock = Clock()
    found = forecast(clock)
    whole = timing.estimate(upscaler.plan(SOURCE), Settings())
    assert (found.fraction, found.left) == (0, pytest.approx(whole))
    clock.now += whole / 4
    assert found.left == pytest.approx(whole * 3 / 4)
    clock.now += 100 * whole
    assert found.left > 0, "late is not over"


def test_the_bar_never_falls_and_ends_full() -> None:
    clock = Clock()
    found = forecast(clock)
    seen = [0.0]
    for stage in Stage:
        for part in np.linspace(0, 1, 11):
            clock.now += 1
            found.note(progress(stage, part))
            seen.append(found.fraction)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert found.left == 0


def test_a_machine_that_is_slower_than_expected_is_believed_after_a_tenth_of_the_first_stage() -> None:
    clock, slower = Clock(), 5.0
    expected = timing.expected(upscaler.plan(SOURCE), Settings())
    truth = slower * sum(stage.seconds for stage in expected.values())
    found = forecast(clock)
    clock.now += slower * expected[Stage.ENLARGE].seconds / 10
    found.note(progress(Stage.ENLARGE, 0.1))
    spent = clock.now - 100
    assert found.left == pytest.approx(truth - spent, rel=0.15)


def test_before_a_twentieth_of_a_stage_its_speed_says_nothing() -> None:
    clock = Clock()
    found = forecast(clock)
    before = found.left
    clock.now += 1
    found.note(progress(Stage.ENLARGE, 0.02))
    assert found.left == pytest.approx(before - 1)


def test_a_stage_that_is_left_out_takes_no_time() -> None:
    clock = Clock()
    found = forecast(clock)
    for stage in (Stage.ENLARGE, Stage.REFINE, Stage.FINISH):  # no joint was visible
        clock.now += 1
        found.note(progress(stage, 1.0))
    assert found.fraction == 1
    assert found.left == 0


def test_ten_runs_of_different_size_and_stages_are_told_within_a_quarter() -> None:
    for run in estimates.simulated():
        assert run.worst <= estimates.BAR, f"{run.name}: {run.worst:.0%} off"


@pytest.mark.parametrize("seconds", [0.0005, 0.2])
def test_a_stage_of_a_moment_says_little_about_a_long_one(seconds: float) -> None:
    clock = Clock()
    found = forecast(clock, gan="none", steps=20)
    whole = found.left
    clock.now += seconds
    found.note(progress(Stage.ENLARGE, 1))
    found.note(progress(Stage.REFINE, 0))
    assert found.left == pytest.approx(whole, rel=0.25)


def test_the_pace_is_what_others_like_it_take_more() -> None:
    clock = Clock()
    found = forecast(clock)
    assert found.pace == pytest.approx(1)
    whole = timing.estimate(upscaler.plan(SOURCE), Settings())
    for part in np.linspace(0, 1, 21):  # everything takes three times as long as expected
        found.note(progress(Stage.ENLARGE, part))
        clock.now += 3 * timing.expected(upscaler.plan(SOURCE), Settings())[Stage.ENLARGE].seconds / 20
    assert found.pace == pytest.approx(3, rel=0.2)
    assert found.left < 3 * whole
