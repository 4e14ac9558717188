"""The one loop over tiles: what runs beside what, what a stop leaves, and what is tried again."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from upscaler.arrays.types import Image
from upscaler.errors import OutOfMemory
from upscaler.events import Notice
from upscaler.tiling.canvas import to_grid
from upscaler.tiling.loop import Step, redraw
from upscaler.tiling.spans import cover
from upscaler.tiling.tiles import Plan, Tile
from upscaler.tiling.worker import OnStep

SECONDS = 20  # after which a test that waits for another thread fails


@pytest.fixture
def canvas() -> Image:
    return to_grid(np.random.default_rng(1).random((256, 256, 3), np.float32))


PLAN = Plan(cover(256, 64, 16, feather=8), cover(256, 64, 16, feather=8))


def negative(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> list[Image]:
    on_step(1, 1)
    return [1 - crop for crop in crops]


def test_the_network_works_while_the_batch_before_is_finished(canvas: Image) -> None:
    """`finish` of the first batch waits until the network has begun the second one: it would wait for ever."""
    begun = [threading.Event() for _ in PLAN]
    waited: list[bool] = []

    def draw(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> list[Image]:
        begun[sum(event.is_set() for event in begun)].set()
        return negative(tiles, crops, on_step)

    def finish(crop: Image, drawn: Image) -> Image:
        if not waited:
            waited.append(begun[1].wait(SECONDS))
        return drawn

    before = canvas.copy()
    list(redraw(canvas, [PLAN], draw, batch=1, finish=finish))
    assert waited == [True]
    np.testing.assert_allclose(canvas, 1 - before, atol=1e-6)


def test_what_was_blended_is_not_kept_in_memory(canvas: Image) -> None:
    """Without Python's collector of circles, which would come late: what is not needed goes at once."""
    alive: list[weakref.ref[Image]] = []
    most = 0

    def draw(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> list[Image]:
        nonlocal most
        drawn = negative(tiles, crops, on_step)
        alive.extend(weakref.ref(image) for image in (*drawn, *crops))
        most = max(most, sum(reference() is not None for reference in alive))
        return drawn

    gc.collect()
    gc.disable()
    try:
        list(redraw(canvas, [PLAN, PLAN, PLAN], draw, batch=1))
    finally:
        gc.enable()
    assert most <= 12  # of 3 x 25: crop and drawn tile of what is ahead, at work, and being blended


@pytest.mark.parametrize("order", ["independent", "chess", "linear"])
def test_waves_are_cut_from_what_the_waves_before_have_drawn(canvas: Image, order: str) -> None:
    plan = Plan(PLAN.rows, PLAN.columns, order)  # type: ignore[arg-type]
    expected = canvas.copy()
    list(redraw(expected, [plan], negative, batch=1, inline=True))
    for batch in (1, 2, 5, 99):
        again = canvas.copy()
        list(redraw(again, [plan], negative, batch=batch))
        assert again.tobytes() == expected.tobytes()


def test_closing_starts_nothing_more(canvas: Image) -> None:
    drawn: list[int] = []
    going_on = threading.Event()

    def draw(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> list[Image]:
        drawn.append(len(drawn))
        if len(drawn) == 3:
            going_on.wait(SECONDS)
        return negative(tiles, crops, on_step)

    running = redraw(canvas, [PLAN], draw, batch=1)
    for item in running:
        if isinstance(item, Step) and item.done == 2 and not item.step:
            break
    threading.Timer(0.1, going_on.set).start()
    running.close()  # type: ignore[attr-defined]
    assert len(drawn) <= 3, "only what was at work came to its end"


def test_a_batch_that_does_not_fit_later_is_halved_with_all_behind_it(canvas: Image) -> None:
    sizes: list[int] = []

    def draw(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> list[Image]:
        sizes.append(len(tiles))
        if len(sizes) > 1 and len(tiles) > 2:
            raise OutOfMemory("another program took the memory")
        return negative(tiles, crops, on_step)

    before = canvas.copy()
    items = list(redraw(canvas, [PLAN], draw, batch=4))
    np.testing.assert_allclose(canvas, 1 - before, atol=1e-6)
    notices = [item.message for item in items if isinstance(item, Notice)]
    assert notices == ["a batch of 4 tiles did not fit into memory; continuing with 2"]
    done = [item.done for item in items if isinstance(item, Step)]
    assert done == sorted(done)
    assert done[-1] == len(PLAN)


def test_what_a_network_raises_ends_the_loop_and_its_threads(canvas: Image) -> None:
    def draw(tiles: Sequence[Tile], crops: Sequence[Image], on_step: OnStep) -> list[Image]:
        raise ValueError("broken")

    threads = threading.active_count()
    with pytest.raises(ValueError, match="broken"):
        list(redraw(canvas, [PLAN], draw, batch=2))
    assert threading.active_count() == threads
