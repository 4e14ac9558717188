"""The seam score sees what people see, and the seam plans lie where the joints are."""

from __future__ import annotations

import numpy as np
import pytest

import upscaler
from upscaler.arrays.types import Image
from upscaler.geometry import Size
from upscaler.stages.seam_score import seam_score, where_visible
from upscaler.tiling.seams import seam_plans
from upscaler.tiling.spans import cover
from upscaler.tiling.tiles import Plan

PLAN = Plan(cover(1024, 512, 64, feather=32, multiple=8), cover(1536, 512, 64, feather=32, multiple=8))


@pytest.fixture
def texture(rng: np.random.Generator) -> Image:
    return (0.5 + 0.1 * rng.standard_normal((1024, 1536, 3))).astype(np.float32)


def gradient() -> Image:
    return np.broadcast_to(np.linspace(0.2, 0.8, 1536, dtype=np.float32)[None, :, None], (1024, 1536, 3)).copy()


def test_equal_pictures_score_zero(texture: Image) -> None:
    score = seam_score(texture, texture, PLAN)
    assert score.worst == score.inside == 0
    assert not score.visible
    assert len(score.joints) == sum(map(len, seam_plans(PLAN, "band", width=64, multiple=8)))


@pytest.mark.parametrize("step", [1, 3])
def test_a_step_of_tone_on_a_gradient_is_seen_at_its_size(step: int) -> None:
    image = gradient()
    joint = int(PLAN.columns[1].rise or 0)
    image[:, joint:] += np.float32(step / 255)
    score = seam_score(image, gradient(), PLAN)
    assert {(joint.vertical, joint.column) for joint in score.visible} == {(True, 0)}
    assert step <= score.worst < 2.1 * step  # the step itself, and the jump on the line


def test_a_step_that_the_picture_has_anyway_is_not_a_seam() -> None:
    image = gradient()
    image[:, int(PLAN.columns[1].rise or 0) :] += np.float32(0.1)
    assert seam_score(image, image.copy(), PLAN).worst == 0


def test_independent_texture_is_no_seam(texture: Image, rng: np.random.Generator) -> None:
    score = seam_score(texture + 0.02 * rng.standard_normal(texture.shape).astype(np.float32), texture, PLAN)
    assert not score.visible


def test_the_default_plan_is_that_of_the_default_settings() -> None:
    planned = upscaler.plan(Size(384, 256), scale=4).tiles
    found = seam_score(gradient(), gradient())
    assert found.joints
    assert found == seam_score(gradient(), gradient(), planned)


def test_plans_of_each_mode() -> None:
    rows, columns = len(PLAN.rows), len(PLAN.columns)
    counts = {
        mode: [len(part) for part in seam_plans(PLAN, mode, width=64, multiple=8)]
        for mode in ("none", "band", "half-tile", "half-tile+intersections")
    }  # type: ignore[arg-type]
    assert counts["none"] == []
    assert counts["band"] == [(rows + 1) * (columns - 1), (rows - 1) * (columns + 1)]
    assert counts["half-tile"] == [rows * (columns - 1), (rows - 1) * columns]
    assert counts["half-tile+intersections"] == [*counts["half-tile"], (rows - 1) * (columns - 1)]


def test_pieces_have_the_shape_of_a_tile() -> None:
    for mode in ("band", "half-tile+intersections"):
        for part in seam_plans(PLAN, mode, width=64, multiple=8):  # type: ignore[arg-type]
            assert {tile.box.size for tile in part} == {(512, 512)}


def test_one_tile_has_no_joints() -> None:
    plan = Plan(cover(400, 512, 64, feather=32), cover(400, 512, 64, feather=32))
    for mode in ("band", "half-tile", "half-tile+intersections"):
        assert not sum(map(len, seam_plans(plan, mode, width=64, multiple=8)))  # type: ignore[arg-type]
    assert seam_score(np.zeros((400, 400, 3), np.float32), np.zeros((400, 400, 3), np.float32), plan).joints == ()


def test_auto_redraws_only_what_stands_out() -> None:
    image = gradient()
    joint = int(PLAN.rows[1].rise or 0)
    image[joint:, :200] += np.float32(3 / 255)
    bands = seam_plans(PLAN, "auto", width=64, multiple=8)
    vertical, horizontal = where_visible(bands, seam_score(image, gradient(), PLAN))
    assert not len(vertical)
    (tile,) = horizontal
    assert tile.box.top < joint < tile.box.bottom
    assert tile.box.left == 0
