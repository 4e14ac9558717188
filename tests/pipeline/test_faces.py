"""The face stage over fakes: exact where nothing changes, inside its windows where something does."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import upscaler
from upscaler import planning, resume
from upscaler.arrays.affine import Affine, warp
from upscaler.arrays.types import Image
from upscaler.errors import OutOfMemory, WeightsNotFound
from upscaler.events import Event, Finished, Notice, Progress, Stage
from upscaler.geometry import Box, Size
from upscaler.models.base import Face, OnStep
from upscaler.options.settings import Settings
from upscaler.pictures.picture import Picture
from upscaler.resolve import plan_run
from upscaler.stages.faces import POINTS, SIDE, advice, place
from upscaler.testing import (
    FixedDetector,
    IdentityRefiner,
    IdentityRestorer,
    InvertRefiner,
    NearestUpscaler,
    PaintRestorer,
)

OPTIONS: dict[str, Any] = {
    "scale": 2,
    "tile": 128,
    "overlap": 32,
    "feather": 16,
    "gan_tile": 64,
    "faces": 1.0,
    "steps": 1,
}


def face_at(x: float, y: float, side: float, turn: float = 0.0) -> Face:
    """A face whose square has this middle and side, in pixels, turned by so many degrees."""
    turned = complex(math.cos(math.radians(turn)), math.sin(math.radians(turn))) * side / SIDE
    square = Affine(turned, complex(x, y) - turned * complex(SIDE, SIDE) / 2)
    points = [square(complex(*point)) for point in POINTS]
    box = Box(int(x - side / 4), int(y - side / 4), int(x + side / 4), int(y + side / 4))
    return Face(box, tuple((z.real, z.imag) for z in points))


def picture(height: int = 150, width: int = 200, *, alpha: bool = False) -> Picture:
    noise = np.random.default_rng(3).random((height, width, 4 if alpha else 3), np.float32)
    return Picture.from_array(noise)


def run(image: Picture, found: list[Face], restorer: Any, **options: Any) -> list[Event]:
    models: dict[str, Any] = {"upscaler": NearestUpscaler(2), "refiner": IdentityRefiner()}
    return list(
        upscaler.run(image, detector=FixedDetector(found), restorer=restorer, **{**OPTIONS, **models, **options})
    )


def result(*args: Any, **options: Any) -> Picture:
    last = run(*args, **options)[-1]
    assert isinstance(last, Finished)
    return last.picture


FACES = [face_at(60, 70, 90, 15), face_at(150, 60, 40, -30), face_at(10, 140, 60), face_at(100, 75, 600)]


@pytest.mark.parametrize("refiner", [None, IdentityRefiner(), InvertRefiner()], ids=["none", "identity", "invert"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_restorer_that_changes_nothing_changes_nothing(refiner: Any, alpha: bool) -> None:
    image = picture(alpha=alpha)
    plain = result(image, [], IdentityRestorer(), refiner=refiner, model="none" if refiner is None else "pocket")
    restored = result(image, FACES, IdentityRestorer(), refiner=refiner, model="none" if refiner is None else "pocket")
    assert np.array_equal(plain.pixels, restored.pixels)
    assert (plain.alpha is None) == (restored.alpha is None)


@pytest.mark.parametrize("face", FACES)
def test_paint_shows_inside_the_square_of_a_face_and_nowhere_else(face: Face) -> None:
    image = Picture.from_array(np.full((150, 200, 3), 0.5, np.float32))
    plain = result(image, [], None).pixels
    painted = result(image, [face], PaintRestorer((1.0, 0.0, 0.0)), wavelet_color=0.0).pixels
    square = place(face, image.size, Size(400, 300)).inverse
    y, x = np.mgrid[:300, :400] + 0.5
    inside = square.turn * (x + 1j * y) + square.move
    within = np.maximum(
        np.abs(inside.real - SIDE / 2), np.abs(inside.imag - SIDE / 2)
    )  # of the square, from its middle
    changed = np.abs(painted - plain).max(axis=2)
    scale = abs(square.turn)
    assert changed[within > SIDE / 2 + 2 * scale].max(initial=0) == 0
    middle = within < SIDE / 2 - 64 - 48 - 4 * scale
    assert middle.any()
    assert np.abs(painted[middle] - np.array((1.0, 0.0, 0.0))).max() < 0.02


def test_the_strength_blends_and_the_tone_stays_if_it_is_locked() -> None:
    image = Picture.from_array(np.full((150, 200, 3), 0.5, np.float32))
    face = [face_at(100, 75, 120)]
    full = result(image, face, PaintRestorer(), wavelet_color=0.0).pixels - 0.5
    half = result(image, face, PaintRestorer(), wavelet_color=0.0, faces=0.5).pixels - 0.5
    assert np.abs(half - full / 2).max() < 1e-3
    assert np.abs(full).max() == 0.5
    locked = result(image, face, PaintRestorer()).pixels - 0.5
    assert np.abs(locked).max() < 0.01  # a plain colour is all tone


def test_the_same_bytes_in_a_region_with_a_mask_and_inline_of_threads() -> None:
    image = picture()
    painter = PaintRestorer((0.2, 0.6, 0.1))
    whole = result(image, FACES[:3], painter, wavelet_color=0.0)
    region = Box(90, 60, 260, 190)
    part = result(image, FACES[:3], painter, wavelet_color=0.0, region=region)
    assert np.array_equal(part.pixels, whole.pixels[region.slices])
    mask = np.zeros((150, 200), np.float32)
    mask[:, :60] = 1
    masked = result(image, FACES[:3], painter, wavelet_color=0.0, mask=mask)
    plain = result(image, [], painter)
    assert np.array_equal(masked.pixels[:, 124:], plain.pixels[:, 124:])
    assert not np.array_equal(masked.pixels[:, :124], plain.pixels[:, :124])


def test_progress_and_plan_and_notices() -> None:
    image = picture()
    happened = run(image, FACES, IdentityRestorer())
    stages = [event for event in happened if isinstance(event, Progress) and event.stage is Stage.FACES]
    assert (stages[0].done, stages[-1].done, stages[-1].total) == (0, 4, 4)
    assert all(Box(0, 0, 400, 300).meet(box) == box for event in stages for box in event.boxes)
    plan = plan_run(
        image.size, Settings.of(**OPTIONS), upscaler=NearestUpscaler(2), refiner=IdentityRefiner(), faces=FACES
    )
    assert plan.faces is not None
    assert plan.work[Stage.FACES] == 4 * SIDE * SIDE
    assert any(isinstance(event, Notice) and "no face" in event.message for event in run(image, [], IdentityRestorer()))
    assert not any(isinstance(event, Notice) for event in run(image, FACES, None, faces=0.0))


class Stopping(PaintRestorer):
    """Counts, and stops for good at one of its faces."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.calls, self.at = 0, at

    def __call__(self, face: Image, *, on_step: OnStep) -> Image:
        self.calls += 1
        if self.calls == self.at:
            raise OutOfMemory("a face does not fit")
        return super().__call__(face, on_step=on_step)


def test_finished_faces_are_not_drawn_again_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_of_faces", lambda settings: {})  # there are no files to tell apart
    image = picture()
    whole = result(image, FACES, PaintRestorer(), wavelet_color=0.0)
    with pytest.raises(OutOfMemory):
        run(image, FACES, Stopping(3), wavelet_color=0.0, progress=tmp_path / "kept")
    again = Stopping(99)
    resumed = result(image, FACES, again, wavelet_color=0.0, progress=tmp_path / "kept")
    assert again.calls == 2
    assert np.array_equal(resumed.pixels, whole.pixels)


def test_stop_takes_one_step() -> None:
    steps: list[int] = []

    class Slow(IdentityRestorer):
        def __call__(self, face: Image, *, on_step: OnStep) -> Image:
            for step in range(10_000):
                steps.append(step)
                time.sleep(0.0005)
                on_step(step + 1, 10_000)
            return face

    models: dict[str, Any] = {"upscaler": NearestUpscaler(2), "refiner": IdentityRefiner()}
    events: Iterator[Event] = upscaler.run(
        picture(), detector=FixedDetector(FACES), restorer=Slow(), **{**OPTIONS, **models}
    )
    for event in events:
        if isinstance(event, Progress) and event.stage is Stage.FACES and event.step:
            break
    events.close()  # type: ignore[attr-defined]
    seen = len(steps)
    assert seen < 9_999
    assert len(steps) == seen


def test_a_broken_face_is_left_as_it_was() -> None:
    class Broken(IdentityRestorer):
        def redraw(self, face: Image) -> Image:
            return face * np.float32(np.nan)

    image = picture()
    happened = run(image, FACES[:1], Broken())
    assert any(isinstance(event, Notice) and "NaN" in event.message for event in happened)
    assert isinstance(happened[-1], Finished)
    assert np.array_equal(happened[-1].picture.pixels, result(image, [], None).pixels)


def test_the_map_between_points_is_the_nearest_one() -> None:
    there = Affine(2 - 1j, 30 + 4j)
    points = [complex(x, y) for x, y in POINTS]
    found = Affine.between(points, [there(point) for point in points])
    assert abs(found.turn - there.turn) + abs(found.move - there.move) < 1e-9
    assert abs(there.inverse(there(5 + 6j)) - (5 + 6j)) < 1e-12


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_a_picture_that_is_turned_and_turned_back_is_itself(scale: float) -> None:
    y, x = np.mgrid[:120, :160].astype(np.float32)
    image = np.stack([np.sin(x / 9) + np.cos(y / 7), x / 160, y / 120], axis=2)
    there = Affine(complex(0.8, 0.3) * scale, complex(-40, -90))
    turned = warp(image, Size(int(320 / scale), int(320 / scale)), there, edge=True)
    back = warp(turned, Size(160, 120), there.inverse, edge=True)
    assert np.abs(back - image)[20:-20, 20:-20].max() < 0.1


def test_advice_is_about_small_faces_that_will_be_shown_large() -> None:
    small, large = face_at(60, 70, 90), face_at(150, 60, 900)
    assert advice([small, large], Size(200, 150), Size(800, 600)).startswith("1 small face, 45 px wide")
    assert advice([small, replace(small, box=Box(0, 0, 30, 30))], Size(200, 150), Size(800, 600)).startswith(
        "2 small faces, the"
    )
    assert advice([large], Size(200, 150), Size(800, 600)) == ""
    assert advice([small], Size(200, 150), Size(200, 150)) == ""


def test_the_detector_is_asked_once_for_a_picture_and_its_absence_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, ...]] = []

    def detector(image: Image) -> list[Face]:
        asked.append(image.shape)
        return [face_at(60, 70, 90)]

    monkeypatch.setattr(planning, "load_detector", lambda: detector)
    image = picture()
    assert planning.advice_on_faces(image, Settings()).startswith("1 small face")
    assert len(upscaler.plan(image, **OPTIONS).faces or ()) == 1
    assert asked == [(150, 200, 3)]
    assert upscaler.plan(image, **{**OPTIONS, "faces": 0.0}).faces is None
    assert planning.advice_on_faces(image, Settings.of(faces=0.5)) == ""

    def absent() -> Any:
        raise WeightsNotFound("no detector model 'yunet'")

    monkeypatch.setattr(planning, "load_detector", absent)
    assert planning.advice_on_faces(picture(), Settings()) == ""
    with pytest.raises(WeightsNotFound):
        next(iter(upscaler.run(picture(), **OPTIONS)))


def test_a_kept_run_depends_on_the_files_of_both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSCALER_MODELS", str(tmp_path))
    (tmp_path / "yunet.onnx").write_bytes(b"one")
    (tmp_path / "mine.pth").write_bytes(b"two")
    settings = Settings.of(faces=0.5, face_model=str(tmp_path / "mine.pth"))

    def described() -> dict[str, Any]:
        return resume.describe_run(picture(), settings, region=None, mask=None)

    before = described()
    (tmp_path / "mine.pth").write_bytes(b"three")
    (tmp_path / "yunet.onnx").write_bytes(b"four")
    after = described()
    assert {name for name in before if before[name] != after[name]} == {"faces", "detector"}
    assert "faces" not in resume.describe_run(picture(), Settings(), region=None, mask=None)
