"""How long a run takes, learned from past runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import upscaler
from upscaler import folders, text, timing
from upscaler.events import Stage
from upscaler.geometry import Size
from upscaler.options.settings import Settings

SECONDS = {Stage.ENLARGE: 40.0, Stage.REFINE: 14.0, Stage.SEAMS: 3.0, Stage.FINISH: 0.5}
SOURCE = Size(512, 512)


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folders, "state_folder", lambda: tmp_path / "state")
    return tmp_path / "state" / "timing.json"


def learn(seconds: dict[Stage, float] = SECONDS, size: Size = SOURCE, **options: object) -> None:
    timing.learn(upscaler.plan(size, **options), Settings.of(**options), seconds)


def estimate(size: Size = SOURCE, **options: object) -> float:
    return timing.estimate(upscaler.plan(size, **options), Settings.of(**options))


def unlearned(stage: timing.Expected) -> bool:
    return not stage.learned


def test_a_first_run_is_estimated_and_remembered_exactly() -> None:
    assert all(map(unlearned, timing.expected(upscaler.plan(SOURCE), Settings()).values()))
    assert 5 < estimate() < 500
    learn()
    assert estimate() == pytest.approx(57.5)


def test_other_sizes_and_steps_follow_from_the_work() -> None:
    learn(size=Size(512, 512))
    larger = estimate(Size(2048, 2048))
    assert 57.5 * 14 < larger < 57.5 * 22, (
        "sixteen times the pixels, and network tiles that now have context on all sides"
    )
    slower = estimate(steps=4)
    assert slower == pytest.approx(57.5 + 14 * (4.5 / 1.5 - 1))
    assert estimate(steps=2, guidance=2, seams="none") == pytest.approx(40.5 + 14 * (4.5 / 1.5))


def test_what_has_never_run_is_scaled_by_what_has() -> None:
    first = estimate()
    ratio = 3.0
    seconds = (
        ratio * timing.expected(upscaler.plan(SOURCE, model="none"), Settings.of(model="none"))[Stage.ENLARGE].seconds
    )
    learn({Stage.ENLARGE: seconds}, model="none")
    assert estimate(model="none") == pytest.approx(seconds)
    assert estimate() == pytest.approx(ratio * first)
    assert not timing.expected(upscaler.plan(SOURCE), Settings())[Stage.REFINE].learned
    faster = estimate(model="none", gan="realesr-animevideov3")
    assert faster < estimate(model="none") / 8
    assert estimate(model="none", device="cuda") < estimate(model="none", device="cpu") / 2


def test_the_share_of_joints_that_auto_redraws_is_learned() -> None:
    """A run that redraws nothing has no seam stage: it took no time, and the next ones hardly will."""
    seconds = {stage: value for stage, value in SECONDS.items() if stage is not Stage.SEAMS}
    learn(seconds)
    assert estimate() == pytest.approx(54.5)
    every = estimate(seams="band")
    plan = upscaler.plan(SOURCE)
    assert every == pytest.approx(54.5 + 14 / len(plan.tiles or ()) * plan.seam_tiles), (
        "each piece costs what a tile does"
    )
    for _ in range(30):
        learn(SECONDS)
    assert estimate() == pytest.approx(57.5, abs=0.1)


def test_later_runs_count_more() -> None:
    learn({Stage.ENLARGE: 10.0}, model="none")
    learn({Stage.ENLARGE: 20.0}, model="none")
    assert estimate(model="none") == pytest.approx(14)
    for _ in range(20):
        learn({Stage.ENLARGE: 20.0}, model="none")
    assert estimate(model="none") == pytest.approx(20, rel=1e-3)


def test_alpha_is_enlarged_too() -> None:
    opaque = np.full((64, 64, 4), 255, np.uint8)
    clear = opaque.copy()
    clear[:9, :, 3] = 0
    plain, double = (upscaler.plan(upscaler.Picture.from_array(array)) for array in (opaque, clear))
    assert double.work[Stage.ENLARGE] == 2 * plain.work[Stage.ENLARGE] > 0
    assert double.gan_tiles == 2 * plain.gan_tiles


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff", b"[" * 50000, b'{"a": "b", "c": -1, "d": NaN, "e": true, "f": null}']
)
def test_a_damaged_file_is_replaced(content: bytes, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    assert estimate() > 0
    learn()
    assert estimate() == pytest.approx(57.5)
    assert all(isinstance(rate, float) for rate in json.loads(file.read_text()).values())
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_written_fails_no_run(file: Path) -> None:
    file.parent.write_text("a file where the folder should be")
    before = estimate()
    learn()
    assert estimate() == before


def test_the_file_stays_small(file: Path) -> None:
    for index in range(600):
        learn({Stage.ENLARGE: 1.0}, gan="none", model="none", device=f"cuda:{index}")
    assert len(json.loads(file.read_text())) == 500
    assert estimate(gan="none", model="none", device="cuda:599") == pytest.approx(1)
    first = upscaler.plan(SOURCE, gan="none", model="none", device="cuda:0")
    assert all(map(unlearned, timing.expected(first, Settings.of(gan="none", model="none", device="cuda:0")).values()))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (12.4, "12 s"), (59.6, "1 min"), (79, "1 min 20 s"), (120, "2 min"), (598, "10 min"), (750, "12 min"),
     (3600, "1 h"), (7490, "2 h 5 min")],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words
