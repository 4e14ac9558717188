"""The one loop over tiles that every stage with a network runs in.

Tiles are cut, drawn in batches by a network in a thread of its own, finished and blended into the canvas. While the
network works on one batch, the one before is finished and blended and the next one is cut, so that the network is never
the one that waits.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..arrays.types import Image
from ..errors import OutOfMemory
from ..events import Notice
from ..geometry import NO_WRAP, Box, Size, Wrap
from ..text import count
from .canvas import Wave, weigh
from .journal import Journal
from .mask import Mask
from .tiles import Plan, Tile
from .worker import Hold, OnStep, Pending, Task, make_worker

Draw = Callable[[Sequence[Tile], Sequence[Image], OnStep], Sequence[Image | Pending]]
"""What a network makes of some tiles, from the tiles and their crops: images of the crops' size, or what waits for them."""

_AHEAD = 3  # batches for each network that are cut before they are needed: one at work and two that wait for it
_MOST_HELPERS = 8


class Step(NamedTuple):
    """Where the loop stands: finished tiles, boxes of the batch at work, its finished and all its evaluations."""

    done: int
    boxes: tuple[Box, ...] = ()
    step: int = 0
    steps: int = 0


class _Taken(NamedTuple):
    """A tile that was cut from the canvas."""

    tile: Tile
    crop: Image


class _Batch(NamedTuple):
    """Tiles that the network draws at once."""

    taken: Sequence[_Taken]
    task: Task[Sequence[Image | Pending]]

    @property
    def boxes(self) -> tuple[Box, ...]:
        return tuple(tile.box for tile, _ in self.taken)


def redraw(
    canvas: Image,
    plans: Sequence[Plan],
    draw: Draw,
    *,
    batch: int,
    finish: Callable[[Image, Image], Image] | None = None,
    skip: Callable[[Tile, Image], bool] | None = None,
    mask: Mask | None = None,
    journal: Journal | None = None,
    parallel: int = 1,
    inline: bool = False,
    hold: Hold | None = None,
) -> Iterator[Step | Notice]:
    """Redraw the tiles of some plans, one plan after the other, in `canvas`, step by step.

    A batch that does not fit into memory is tried again in halves. A tile that comes out with NaN or infinity is left as
    it was, with a `Notice`. When this generator is closed, the network stops after the evaluation at work; the canvas
    then holds all finished tiles.

    Args:
        canvas: (H, W, 3) on the grid of exact sums, changed in place.
        draw: runs in as many threads as `parallel` says.
        batch: how many tiles at once, at most.
        finish: makes of a crop and what was drawn from it what is blended in; runs in several threads.
        skip: says of a tile and its crop that nothing is to be drawn there.
        mask: where the canvas may change; tiles outside of it are skipped.
        journal: tiles that it holds are not drawn again, and those that are drawn are added to it.
        parallel: how many batches are drawn at the same time.
        inline: run everything in the calling thread, one batch after the other.
        hold: called after each step of a network, which rests until it comes back.

    Raises:
        OutOfMemory: one tile alone does not fit.
        ProgressError: the journal cannot be written.
    """
    loop = _Loop(canvas, draw, batch, finish, skip, mask, journal, parallel, inline, hold)
    try:
        for plan in plans:
            if journal is not None:
                journal.next_pass()
            for tiles in plan.waves():
                yield from loop.run(tiles, plan.wrap)
        yield from loop.tell_skipped()
    finally:
        loop.close()


class _Loop:
    """The state of a loop: how far it has come, and the batches under way."""

    def __init__(
        self,
        canvas: Image,
        draw: Draw,
        batch: int,
        finish: Callable[[Image, Image], Image] | None,
        skip: Callable[[Tile, Image], bool] | None,
        mask: Mask | None,
        journal: Journal | None,
        parallel: int,
        inline: bool,
        hold: Hold | None,
    ) -> None:
        self._canvas, self._draw, self._batch = canvas, draw, batch
        self._finish, self._skip, self._mask, self._journal = finish, skip, mask, journal
        self._network = make_worker("network", inline=inline, threads=parallel)
        self._helpers = make_worker("helper", inline=inline, threads=min(os.cpu_count() or 1, _MOST_HELPERS))
        self._parallel, self._inline, self._hold = parallel, inline, hold
        self._wrap = NO_WRAP
        self._proven = False  # whether a batch of this size has fitted
        self._under_way: deque[_Batch] = deque()
        self._done = self._skipped = 0

    def run(self, tiles: list[Tile], wrap: Wrap) -> Iterator[Step | Notice]:
        """Redraw the tiles of one wave."""
        self._wrap = wrap
        finished = set[Tile]() if self._journal is None else {tile for tile in tiles if self._journal.holds(tile)}
        wave = Wave(self._canvas, (tile for tile in tiles if tile not in finished), wrap)
        yield from self._recall(wave, [tile for tile in tiles if tile in finished])
        again: deque[_Taken] = deque()
        while self._start(wave, again):
            batch = self._under_way[0]
            yield Step(self._done, batch.boxes)
            try:
                for step, steps in batch.task.steps():
                    yield Step(self._done, batch.boxes, step, steps)
                drawn = batch.task.result()
            except OutOfMemory:
                if len(batch.taken) == 1:
                    raise
                again.extend(self._give_back())
                self._batch = len(batch.taken) // 2
                yield Notice(
                    f"a batch of {count(len(batch.taken), 'tile')} did not fit into memory; continuing with {self._batch}"
                )
                continue
            self._proven = True
            self._under_way.popleft()
            self._start(wave, again)  # the network goes on while this batch is blended
            yield from self._blend(wave, batch, drawn)
        yield Step(self._done)

    def _recall(self, wave: Wave, tiles: list[Tile]) -> Iterator[Step]:
        """Take tiles from the journal that an earlier run has finished."""
        for tile in tiles:
            assert self._journal is not None
            wave.correct(tile, self._journal.read(tile))
            self._done += 1
            yield Step(self._done, (tile.box,))

    def tell_skipped(self) -> Iterator[Notice]:
        """How many tiles were left out, if any were."""
        if self._skipped:
            yield Notice(f"{count(self._skipped, 'tile')} skipped: there is nothing to redraw")

    def close(self) -> None:
        """Stop what is under way."""
        for batch in reversed(self._under_way):  # the one at work last, so that none starts behind it
            batch.task.stop()
        for worker in (self._network, self._helpers):
            worker.shutdown()

    def _start(self, wave: Wave, again: deque[_Taken]) -> bool:
        """Cut batches as far ahead as is wanted, and hand them to the network; whether any is under way."""
        most = 1 if self._inline else self._parallel * _AHEAD
        while len(self._under_way) < most:
            taken = self._take(wave, again)
            if not taken:
                break
            call = partial(self._draw, [tile for tile, _ in taken], [crop for _, crop in taken])
            self._under_way.append(_Batch(taken, Task(self._network, call, self._hold)))
            self._hand_over()
        self._hand_over()
        return bool(self._under_way)

    def _hand_over(self) -> None:
        """Let the network have the batches that are cut: all of them, or until one has fitted one for each network."""
        if not self._inline:  # an inline call begins when its steps are asked for, after its boxes were told
            for batch in islice(self._under_way, None if self._proven else self._parallel):
                batch.task.start()

    def _take(self, wave: Wave, again: deque[_Taken]) -> list[_Taken]:
        """The next tiles with something to redraw."""
        taken: list[_Taken] = []
        while len(taken) < self._batch and (again or wave):
            if again:
                taken.append(again.popleft())
                continue
            fresh = [_Taken(*item) for item in wave.take(self._batch - len(taken))]
            wanted = list(self._helpers.map(self._wants, fresh))
            taken += [item for item, wants in zip(fresh, wanted) if wants]
            self._skipped += wanted.count(False)
            self._done += wanted.count(False)
        return taken

    def _wants(self, item: _Taken) -> bool:
        if self._mask is not None and not self._mask.touches(item.tile.box, self._wrap):
            return False
        return self._skip is None or not self._skip(*item)

    def _give_back(self) -> list[_Taken]:
        """Stop all batches; their tiles, in order."""
        batches = list(self._under_way)
        for batch in reversed(batches):
            batch.task.stop()
        self._under_way.clear()
        self._proven = False
        return [item for batch in batches for item in batch.taken]

    def _blend(self, wave: Wave, batch: _Batch, drawn: Sequence[Image | Pending]) -> Iterator[Step | Notice]:
        corrections = self._helpers.map(self._correction, batch.taken, drawn)
        for (tile, _), correction in zip(batch.taken, corrections):
            if correction is None:
                at = f"{tile.box.left},{tile.box.top}"
                yield Notice(f"the tile at {at} came out with NaN or infinity; the enlarged picture is kept there")
                continue
            wave.correct(tile, correction)
            if self._journal is not None:
                self._journal.add(tile, correction)
        if self._journal is not None:
            self._journal.sync()
        self._done += len(batch.taken)
        yield Step(self._done, batch.boxes)

    def _correction(self, item: _Taken, drawn: Image | Pending) -> Image | None:
        tile, crop = item
        if callable(drawn):
            drawn = drawn()
        if not np.isfinite(drawn).all():
            return None
        if self._finish is not None:
            drawn = self._finish(crop, drawn)
        height, width = self._canvas.shape[:2]
        return weigh(tile, crop, drawn, Size(width, height), self._mask, self._wrap)
