"""A run that is stopped or killed goes on from the tiles that it had finished, and comes to the same bytes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import upscaler
from tests import killed
from tests.killed import run_and_kill
from upscaler import resume
from upscaler.arrays.types import Image
from upscaler.cli.one import finish_off
from upscaler.errors import ProgressError
from upscaler.events import Finished, Notice, Progress
from upscaler.geometry import Box
from upscaler.models.base import OnStep
from upscaler.options.settings import Sampling
from upscaler.testing import NearestUpscaler, NoiseRefiner

OPTIONS: dict[str, Any] = {**killed.OPTIONS, "steps": 2}
SEAMS = ("none", "band", "half-tile+intersections", "auto")


@dataclass
class CountingUpscaler(NearestUpscaler):
    calls: int = 0

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        self.calls += 1
        return np.sqrt(super().__call__(image, on_step=on_step))


@dataclass
class CountingRefiner(NoiseRefiner):
    calls: int = 0

    def batch_size(self, tile: upscaler.Size) -> int:
        return 1

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        self.calls += 1
        return super().__call__(tiles, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)


@pytest.fixture
def image(rng: np.random.Generator) -> Image:
    return rng.random((90, 110, 3)).astype(np.float32)


def whole(image: Image, **options: Any) -> tuple[Image, int]:
    up, refiner = CountingUpscaler(), CountingRefiner()
    pixels = upscaler.upscale(image, upscaler=up, refiner=refiner, **{**OPTIONS, **options}).pixels
    return pixels, up.calls + refiner.calls


def begun(image: Image, folder: Path, stop_at: int, **options: Any) -> int:
    """Run up to event `stop_at` and leave; the calls of the models until then."""
    up, refiner = CountingUpscaler(), CountingRefiner()
    events = upscaler.run(image, upscaler=up, refiner=refiner, progress=folder, **{**OPTIONS, **options})
    for index, _ in enumerate(events):
        if index == stop_at:
            events.close()  # type: ignore[attr-defined]
            break
    return up.calls + refiner.calls


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
@pytest.mark.parametrize("seams", SEAMS)
def test_a_resumed_run_has_the_bytes_of_one_in_one_go(image: Image, tmp_path: Path, seams: str, order: str) -> None:
    options = {"seams": seams, "order": order}
    expected, calls = whole(image, **options)
    folder = tmp_path / "progress"
    spent = [begun(image, folder, stop, **options) for stop in (3, 9, 17, 30, 41)]
    up, refiner = CountingUpscaler(), CountingRefiner()
    events = list(upscaler.run(image, upscaler=up, refiner=refiner, progress=folder, **{**OPTIONS, **options}))
    finished = events[-1]
    assert isinstance(finished, Finished)
    np.testing.assert_array_equal(finished.picture.pixels, expected)
    # each stop loses what was at work then: at most three batches were ahead
    assert sum(spent) + up.calls + refiner.calls <= calls + 4 * len(spent)
    assert not folder.exists()


def test_nothing_is_drawn_twice_when_all_was_finished(image: Image, tmp_path: Path) -> None:
    expected, _ = whole(image)
    folder = tmp_path / "progress"
    for event in upscaler.run(
        image, upscaler=CountingUpscaler(), refiner=CountingRefiner(), progress=folder, **OPTIONS
    ):
        if isinstance(event, Finished):
            break  # the program is killed before it has saved the result
    up, refiner = CountingUpscaler(), CountingRefiner()
    again = upscaler.upscale(image, upscaler=up, refiner=refiner, progress=folder, **OPTIONS)
    assert (up.calls, refiner.calls) == (0, 0)
    np.testing.assert_array_equal(again.pixels, expected)


def test_opacity_and_a_mask_are_resumed_too(rng: np.random.Generator, tmp_path: Path) -> None:
    picture = rng.random((90, 110, 4)).astype(np.float32)
    mask = (rng.random((9, 11)) > 0.5).astype(np.float32)
    expected = upscaler.upscale(picture, upscaler=CountingUpscaler(), refiner=CountingRefiner(), mask=mask, **OPTIONS)
    for stop in (2, 8, 14, 22):
        begun(picture, tmp_path / "p", stop, mask=mask)
    got = upscaler.upscale(
        picture, upscaler=CountingUpscaler(), refiner=CountingRefiner(), mask=mask, progress=tmp_path / "p", **OPTIONS
    )
    np.testing.assert_array_equal(got.pixels, expected.pixels)
    np.testing.assert_array_equal(got.alpha, expected.alpha)


@pytest.mark.parametrize("changed", [{"strength": 0.5}, {"tile": 192}, {"seed": 3}, {"scale": 3}])
def test_the_progress_of_another_run_is_refused(image: Image, tmp_path: Path, changed: dict[str, Any]) -> None:
    folder = tmp_path / "progress"
    begun(image, folder, 12)
    with pytest.raises(ProgressError, match=r"another run .*now .*--restart"):
        begun(image, folder, 12, **changed)
    expected, _ = whole(image, **changed)
    fresh = upscaler.upscale(
        image,
        upscaler=CountingUpscaler(),
        refiner=CountingRefiner(),
        progress=folder,
        restart=True,
        **{**OPTIONS, **changed},
    )
    np.testing.assert_array_equal(fresh.pixels, expected)


def test_another_picture_is_refused_and_other_ways_to_run_are_not(image: Image, tmp_path: Path) -> None:
    folder = tmp_path / "progress"
    begun(image, folder, 12)
    with pytest.raises(ProgressError, match="another picture"):
        begun(image[:, ::-1], folder, 12)
    begun(image, folder, 12, batch=2, quality=50, overwrite=True)


def test_two_runs_do_not_share_a_folder(image: Image, tmp_path: Path) -> None:
    first = upscaler.run(
        image, upscaler=CountingUpscaler(), refiner=CountingRefiner(), progress=tmp_path / "p", **OPTIONS
    )
    assert isinstance(next(first), Progress)
    with pytest.raises(ProgressError, match="another run is at work"):
        begun(image, tmp_path / "p", 3)
    first.close()  # type: ignore[attr-defined]
    begun(image, tmp_path / "p", 3)


def test_a_run_that_goes_on_says_so(image: Image, tmp_path: Path) -> None:
    begun(image, tmp_path / "p", 20)
    event = next(
        upscaler.run(image, upscaler=CountingUpscaler(), refiner=CountingRefiner(), progress=tmp_path / "p", **OPTIONS)
    )
    assert isinstance(event, Notice)
    assert "continuing from" in event.message


@pytest.fixture
def photo(image: Image, tmp_path: Path) -> Path:
    upscaler.save(upscaler.Picture.from_array(image), tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_comes_to_the_same_file(photo: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    assert not run_and_kill("one", photo, tmp_path / "whole.png", after=60)
    length = time.monotonic() - begin
    folder = tmp_path / "out"
    folder.mkdir()
    killed = 0
    for moment in np.random.default_rng(0).uniform(0.3, 1.05, int(os.environ.get("KILLS", "6"))):
        output = folder / "large.png"
        killed += run_and_kill("one", photo, output, after=float(moment) * length)
        if not output.exists() or resume.folder_for(output).exists():
            assert not run_and_kill("one", photo, output, after=60)
        assert output.read_bytes() == (tmp_path / "whole.png").read_bytes()
        assert [path.name for path in folder.iterdir()] == ["large.png"]
        output.unlink()
    assert killed > 0


@pytest.mark.parametrize("left", [["run.json", "tiles", "lock"], ["tiles", "lock"], []])
def test_a_run_that_was_killed_while_it_removed_its_progress_is_finished(tmp_path: Path, left: list[str]) -> None:
    output = tmp_path / "large.png"
    folder = resume.folder_for(output)
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    assert not finish_off(output)  # there is no result yet
    output.touch()
    assert finish_off(output)
    assert [path.name for path in tmp_path.iterdir()] == ["large.png"]
    assert not finish_off(output)  # nothing says that it came from such a run


@pytest.mark.slow
def test_a_folder_that_is_killed_again_and_again_does_each_picture_once(photo: Path, tmp_path: Path) -> None:
    pictures, output = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    for index in range(8):
        shutil.copy(photo, pictures / f"{index}.png")
    starts = 0
    while run_and_kill("folder", pictures, output, after=2.5):
        starts += 1
        assert starts < 40
    done = (tmp_path / "calls").read_text().split()
    assert sorted(done) == [f"{index}-large.png" for index in range(8)]
    assert len({path.read_bytes() for path in output.glob("*.png")}) == 1
    assert sorted(path.name for path in output.iterdir()) == sorted([*done, "upscaler-manifest.json"])
