"""A picture whose sides meet: nothing tells where it was cut open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import upscaler
from upscaler.arrays.circle import _first_rotation, beginning
from upscaler.arrays.resample import resample
from upscaler.arrays.types import Image
from upscaler.geometry import Size, Wrap, WrapMode
from upscaler.models.base import Refiner
from upscaler.options.settings import Settings
from upscaler.plan import plan_run
from upscaler.stages.seam_score import seam_score
from upscaler.testing import IdentityRefiner, NearestUpscaler, NoiseRefiner, ToneShiftRefiner

OPTIONS: dict[str, Any] = {
    "scale": 4,
    "tile": 128,
    "overlap": 32,
    "feather": 16,
    "gan_tile": 48,
    "steps": 1,
    "seam_width": 32,
}
ROLLS = {"x": (0, 37), "y": (11, 0), "both": (26, 62)}


@pytest.fixture
def texture(rng: np.random.Generator) -> Image:
    y, x = np.mgrid[:80, :96].astype(np.float32)
    waves = 0.5 + 0.2 * np.sin(2 * np.pi * (x / 96 * 3 + y / 80)) + 0.1 * np.cos(2 * np.pi * y / 80 * 2)
    return np.clip(waves[..., None] + rng.normal(0, 0.1, (80, 96, 3)), 0, 1).astype(np.float32)


def enlarged(image: Image, refiner: Refiner | None, **options: Any) -> Image:
    model = "pocket" if refiner is not None else "none"
    settings = Settings.of(**{**OPTIONS, "model": model, **options})
    return upscaler.upscale(image, settings=settings, upscaler=NearestUpscaler(), refiner=refiner).pixels


@pytest.mark.parametrize("wrap", ["x", "y", "both"])
@pytest.mark.parametrize("refiner", [None, NoiseRefiner()], ids=["none", "noise"])
@pytest.mark.parametrize("seams", ["none", "auto", "half-tile+intersections"])
def test_a_rolled_picture_gives_the_rolled_result(texture: Image, wrap: str, refiner: Any, seams: str) -> None:
    down, right = ROLLS[wrap]
    rolled = enlarged(np.roll(texture, (down, right), (0, 1)), refiner, wrap=wrap, seams=seams)
    expected = np.roll(enlarged(texture, refiner, wrap=wrap, seams=seams), (4 * down, 4 * right), (0, 1))
    np.testing.assert_array_equal(rolled, expected)


@pytest.mark.parametrize(("scale", "roll"), [(2, 5), (3, 7), (1.5, 6), (8, 1)])
@pytest.mark.parametrize("gan", ["none", "realesrgan-x4plus"])
def test_it_does_by_any_factor_that_takes_the_roll_to_whole_pixels(
    texture: Image, scale: float, roll: int, gan: str
) -> None:
    def result(image: Image) -> Image:
        settings = Settings.of(**{**OPTIONS, "scale": scale, "wrap": "both", "gan": gan, "seams": "band"})
        network = None if gan == "none" else NearestUpscaler()
        events = upscaler.run(image, settings, upscaler=network, refiner=NoiseRefiner())
        return next(event.picture.pixels for event in events if isinstance(event, upscaler.Finished))

    image = texture[:40, :48]
    expected = np.roll(result(image), (int(roll * scale), int(2 * roll * scale)), (0, 1))
    np.testing.assert_array_equal(result(np.roll(image, (roll, 2 * roll), (0, 1))), expected)


def test_a_picture_begins_at_the_same_content_wherever_it_is_cut_open(rng: np.random.Generator) -> None:
    image = rng.random((12, 32, 3)).astype(np.float32)
    for wrap in (Wrap(True, False), Wrap(False, True), Wrap(True, True)):
        x, y = beginning(image, wrap)
        assert bool(x) <= wrap.x
        assert bool(y) <= wrap.y
        down, right = 5 * wrap.y, 13 * wrap.x
        rolled = np.roll(image, (down, right), (0, 1))
        assert beginning(rolled, wrap) == ((x + right) % 32, (y + down) % 12)
    assert beginning(image, Wrap(True, True), step=16)[0] % 16 == 0
    assert beginning(image, Wrap(True, True), step=16)[1] == 0  # 12 is no multiple of 16


@pytest.mark.parametrize("keys", ["baca", "aaaa", "abab", "b", "zyxzya", "aabaaab"])
def test_the_first_rotation_is_the_least(keys: str) -> None:
    numbers = np.array([ord(key) for key in keys], np.uint64)
    at = _first_rotation(numbers, 1)
    assert keys[at:] + keys[:at] == min(keys[i:] + keys[:i] for i in range(len(keys)))


@pytest.mark.parametrize("gan", [NearestUpscaler(), None], ids=["nearest", "resampled"])
def test_the_sides_of_a_panorama_meet(texture: Image, gan: Any) -> None:
    """The step across the cut is no larger than that between any two columns, though the tiles' tones drift."""
    settings = Settings.of(**OPTIONS, wrap="x", seams="none", gan="none" if gan is None else "realesrgan-x4plus")
    around = upscaler.upscale(texture, settings=settings, upscaler=gan, refiner=ToneShiftRefiner()).pixels
    steps = np.abs(np.diff(around, axis=1, append=around[:, :1])).mean(axis=(0, 2))
    assert steps[-1] <= 1.05 * steps[3:-1:4].max()  # at the borders of the input's pixels, where nearest steps too


def test_the_joint_around_the_side_is_scored_and_redrawn(texture: Image) -> None:
    size = Size(384, 320)
    plan = plan_run(
        Size(96, 80),
        Settings.of(**OPTIONS, wrap="both", seams="band"),
        upscaler=NearestUpscaler(),
        refiner=NoiseRefiner(),
    )
    assert plan.tiles is not None
    columns, rows = len(plan.tiles.columns), len(plan.tiles.rows)
    image = resample(texture, size)
    score = seam_score(image, image, plan.tiles)
    assert len(score.joints) == 2 * columns * rows
    assert sum(len(part) for part in plan.seams) == 2 * columns * rows
    stepped = image.copy()
    joint = round(plan.tiles.columns[0].rise or 0)
    stepped[:, joint : joint + 60] += 0.1
    seen = {item.column for item in seam_score(stepped, image, plan.tiles).joints if item.vertical and item.score > 10}
    assert 0 in seen


@pytest.mark.parametrize("size", [(96, 80), (97, 83), (40, 300), (500, 131)])
@pytest.mark.parametrize("tile", ["auto", "128", "2x3", "1x1", "200x100"])
def test_windows_around_a_circle_sum_to_one(size: tuple[int, int], tile: str) -> None:
    from upscaler.tiling.window import window

    settings = Settings.of(**{**OPTIONS, "tile": tile}, wrap="both")
    plan = plan_run(Size(*size), settings, upscaler=NearestUpscaler(), refiner=IdentityRefiner()).tiles
    assert plan is not None
    total = np.zeros((4 * size[1], 4 * size[0]), np.float32)
    for each in plan:
        weights = np.outer(window(each.y), window(each.x))
        for part in each.box.parts(Size(4 * size[0], 4 * size[1]), Wrap(True, True)):
            total[part.inside.slices] += weights[part.slices]
    np.testing.assert_array_equal(total, 1)


@pytest.mark.parametrize("size", [(130, 3), (3, 130), (97, 83)])
@pytest.mark.parametrize("wrap", ["none", "x", "both"])
def test_a_grid_of_more_tiles_than_there_is_room_for_has_those_that_fit(size: tuple[int, int], wrap: WrapMode) -> None:
    settings = Settings.of(**{**OPTIONS, "tile": "256x256"}, wrap=wrap)
    tiles = plan_run(Size(*size), settings, upscaler=NearestUpscaler(), refiner=IdentityRefiner()).tiles
    assert tiles is not None
    for spans, side in ((tiles.columns, 4 * size[0]), (tiles.rows, 4 * size[1])):
        assert len(spans) <= max(side // 16, 1)  # of tiles that share half of their side
