"""Several workers give the bytes of one; one that dies is replaced, and its work is done again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import upscaler
from tests import killed
from tests.killed import SlowRefiner
from upscaler.arrays.types import Image
from upscaler.errors import SettingsError, UpscalerError
from upscaler.events import Progress
from upscaler.geometry import Box, Size
from upscaler.models.base import OnStep, Refiner, Upscaler
from upscaler.options.settings import Sampling
from upscaler.testing import NearestUpscaler, NoiseRefiner

OPTIONS: dict[str, Any] = {**killed.OPTIONS, "steps": 2}


def test_without_ray_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(SettingsError, match=r"^--workers 2: needs Ray; .*tiled-diffusion-upscaler\[ray\]"):
        upscaler.upscale(np.zeros((32, 32, 3), np.float32), workers=2)


ray = pytest.importorskip("ray", reason="needs the extra ray")

from upscaler.workers import Pool, PooledRefiner, PooledUpscaler, Share, cluster  # noqa: E402

pytestmark = pytest.mark.slow


class DyingRefiner(NoiseRefiner):
    """Ends its process at the first tile, once for each file that it can make."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return super().__call__(tiles, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class RefusingRefiner(NoiseRefiner):
    def redraw(self, tile: Image, box: Box, sampling: Sampling, seed: int) -> Image:
        raise UpscalerError("this one refuses")


@pytest.fixture(scope="module")
def share() -> Iterator[Share]:
    with cluster("2") as share:
        yield share


@pytest.fixture
def image(rng: np.random.Generator) -> Image:
    return rng.random((90, 110, 3)).astype(np.float32)


def refiners(share: Share, load: Any) -> PooledRefiner:
    return PooledRefiner(Pool([load] * share.workers, share))


def test_two_workers_give_the_bytes_of_one(share: Share, image: Image) -> None:
    pool = refiners(share, partial(SlowRefiner, seconds=0.0))
    enlargers = PooledUpscaler(Pool([NearestUpscaler] * share.workers, share))
    assert isinstance(pool, Refiner)
    assert isinstance(enlargers, Upscaler)
    assert (pool.multiple, pool.batch_size(Size(128, 128)), enlargers.scale) == (8, 1, 4)  # type: ignore[attr-defined]
    for order in ("independent", "chess"):
        options = {**OPTIONS, "order": order, "seams": "half-tile"}
        alone = upscaler.upscale(image, upscaler=NearestUpscaler(), refiner=SlowRefiner(seconds=0.0), **options)
        together = upscaler.upscale(image, upscaler=enlargers, refiner=pool, **options)
        np.testing.assert_array_equal(together.pixels, alone.pixels)


def test_a_worker_that_dies_is_replaced(share: Share, image: Image, tmp_path: Path) -> None:
    pool = refiners(share, partial(DyingRefiner, tmp_path / "died"))
    alone = upscaler.upscale(image, upscaler=NearestUpscaler(), refiner=NoiseRefiner(), **OPTIONS)
    together = upscaler.upscale(image, upscaler=NearestUpscaler(), refiner=pool, **OPTIONS)
    assert (tmp_path / "died").exists()
    np.testing.assert_array_equal(together.pixels, alone.pixels)


def test_what_a_worker_says_is_said_here(share: Share, image: Image) -> None:
    with pytest.raises(UpscalerError, match=r"^this one refuses$"):
        upscaler.upscale(image, upscaler=NearestUpscaler(), refiner=refiners(share, RefusingRefiner), **OPTIONS)


def test_a_run_over_workers_can_be_stopped_and_started_again(share: Share, image: Image) -> None:
    pool = refiners(share, partial(SlowRefiner, seconds=0.2))
    events = upscaler.run(image, upscaler=NearestUpscaler(), refiner=pool, **OPTIONS)
    for event in events:
        if isinstance(event, Progress) and event.stage == "refine" and event.done > 1:
            events.close()  # type: ignore[attr-defined]
            break
    again = upscaler.upscale(image, upscaler=NearestUpscaler(), refiner=pool, **OPTIONS)
    alone = upscaler.upscale(image, upscaler=NearestUpscaler(), refiner=NoiseRefiner(), **OPTIONS)
    np.testing.assert_array_equal(again.pixels, alone.pixels)
