"""Joint mode through the pipeline, with the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upscaler import pipeline
from upscaler.arrays.types import Image
from upscaler.errors import OutOfMemory, SettingsError
from upscaler.events import Finished, Progress, Stage
from upscaler.geometry import Box, Size
from upscaler.models import load_refiner
from upscaler.models.base import Redrawer
from upscaler.models.diffusion.habits import ONE_STEP
from upscaler.options.settings import Settings
from upscaler.pictures.picture import Picture
from upscaler.resolve import plan_run
from upscaler.testing import IdentityRefiner, NearestUpscaler
from upscaler.tiling.journal import Journal

SETTINGS = Settings.of(scale=4, tile="128", overlap=32, mode="joint", steps=2, scheduler="ddim", batch=2)


@pytest.fixture(scope="module")
def pocket() -> Any:
    return load_refiner("pocket", device="cpu", precision="float32")


def run(image: Image, model: Any, settings: Settings = SETTINGS, **options: Any) -> list[Any]:
    return list(pipeline.run(Picture(image), settings, upscaler=NearestUpscaler(4), refiner=model, **options))


@pytest.fixture(scope="module")
def image() -> Image:
    return np.random.default_rng(1).random((50, 61, 3), np.float32)


def test_a_run_is_one_piece_whose_steps_are_told(image: Image, pocket: Any) -> None:
    events = run(image, pocket)
    refining = [event for event in events if isinstance(event, Progress) and event.stage is Stage.REFINE]
    assert {event.total for event in refining} == {1}
    assert refining[-1].done == 1
    calls = 2 * -(-len(plan_run(Size(61, 50), SETTINGS, upscaler=NearestUpscaler(4), refiner=pocket).tiles or ()) // 2)
    assert [(event.step, event.steps) for event in refining if event.steps] == [(k, calls) for k in range(1, calls + 1)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.seams is not None
    assert finished.picture.size == Size(244, 200)


def test_joint_is_near_tiles_and_not_equal(image: Image, pocket: Any) -> None:
    joint = run(image, pocket)[-1].picture.pixels
    tiles = run(image, pocket, SETTINGS.but(mode="tiles"))[-1].picture.pixels
    assert 0 < np.abs(joint - tiles).mean() < 0.01
    alone = SETTINGS.but(tile="1024", overlap=0, feather=0)
    np.testing.assert_array_equal(
        run(image, pocket, alone)[-1].picture.pixels, run(image, pocket, alone.but(mode="tiles"))[-1].picture.pixels
    )


def test_a_region_is_that_part_of_the_whole(image: Image, pocket: Any) -> None:
    region = Box(100, 60, 180, 150)
    whole = run(image, pocket)[-1].picture.pixels
    part = run(image, pocket, region=region)[-1].picture.pixels
    np.testing.assert_array_equal(part, whole[region.slices])


def test_a_run_goes_on_after_its_stage(image: Image, pocket: Any, tmp_path: Path) -> None:
    """What is kept is the stage as a whole: it is not drawn again, and the result has the same bytes."""
    whole = run(image, pocket)[-1].picture.pixels
    journal = Journal(tmp_path / "tiles")
    for event in pipeline.run(Picture(image), SETTINGS, upscaler=NearestUpscaler(4), refiner=pocket, journal=journal):
        if isinstance(event, Progress) and event.stage is Stage.REFINE and event.done:
            break
    journal.close()
    calls: list[int] = []

    class Counted:
        multiple, tile_sides, habits = pocket.multiple, pocket.tile_sides, pocket.habits
        batch_size = staticmethod(pocket.batch_size)

        def jointly(self, plan: Any, batch: int) -> Any:
            calls.append(batch)
            return Counted()

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("drawn again")

    settings = SETTINGS.but(seams="none")
    with_seams = run(image, pocket, settings)[-1].picture.pixels
    journal = Journal(tmp_path / "tiles")
    again = run(image, Counted(), settings, journal=journal)[-1].picture.pixels
    journal.close()
    assert calls == [2]
    np.testing.assert_array_equal(again, with_seams)
    assert whole.shape == again.shape


def test_outside_of_a_mask_nothing_changes(image: Image, pocket: Any) -> None:
    mask = np.zeros((200, 244), np.float32)
    mask[:, 122:] = 1
    plain = run(image, None)[-1].picture.pixels
    masked = run(image, pocket, mask=mask)[-1].picture.pixels
    np.testing.assert_array_equal(masked[:, :122], plain[:, :122])
    assert np.abs(masked[:, 130:] - plain[:, 130:]).mean() > 1e-4


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"order": "chess"}, "tiles.order"), ({"wrap": "x"}, "tiles.wrap"), ({"adaptive": True}, "tiles.adaptive")],
)
def test_what_it_cannot_do_is_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        SETTINGS.but(**changes)


def test_a_model_that_cannot_is_refused_before_anything_runs(image: Image) -> None:
    with pytest.raises(SettingsError, match=r"tiles\.mode.*use tiles"):
        run(image, IdentityRefiner())


def test_a_canvas_that_does_not_fit_says_what_would(image: Image, pocket: Any) -> None:
    class Full(IdentityRefiner):
        habits = pocket.habits

        def jointly(self, plan: Any, batch: int) -> Any:
            return self

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            raise OutOfMemory("a canvas of 248x200 px does not fit")

    with pytest.raises(OutOfMemory, match="mode tiles should fit"):
        run(image, Full())


def test_a_model_that_draws_without_steps_between_says_no() -> None:
    for habits in ONE_STEP.values():
        with pytest.raises(SettingsError, match=r"tiles\.mode"):
            plan_run(Size(64, 64), SETTINGS, upscaler=None, refiner=Redrawer(habits=habits))
