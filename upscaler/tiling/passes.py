"""The runs of a super-resolution network that take a picture to an exact size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..geometry import NO_WRAP, Box, Size, Wrap
from .grid import Cut, TileSides, grid
from .spans import Span
from .tiles import Plan


@dataclass(frozen=True, slots=True)
class EnlargePass:
    """One run of the super-resolution network over a whole picture.

    Attributes:
        plan: tiles in pixels of the picture that goes in.
        ratio: how much larger (x, y) the result is, each at most the network's own scale.
        size: of the result.
        scale: of the network.
    """

    plan: Plan
    ratio: tuple[float, float]
    size: Size
    scale: int

    @property
    def pixels(self) -> int:
        """What the network draws, in pixels, context included."""
        return sum(tile.box.size.width * tile.box.size.height for tile in self.plan) * self.scale**2

    @property
    def target(self) -> Plan:
        """The same tiles in pixels of the result."""
        x, y = self.ratio
        wrap = self.plan.wrap
        rows = tuple(scale_span(span, y, None if wrap.y else self.size.height) for span in self.plan.rows)
        columns = tuple(scale_span(span, x, None if wrap.x else self.size.width) for span in self.plan.columns)
        return Plan(rows, columns, where=self.plan.where, wrap=wrap)


def enlarge_passes(
    source: Size, target: Size, *, scale: int, halo: int, tile: int, wrap: Wrap = NO_WRAP
) -> tuple[EnlargePass, ...]:
    """The fewest runs of a network of integer `scale` that reach `target`; none if it is not larger than `source`.

    What the network gives beyond the target is resampled away in the first runs, where the picture is smallest: five
    times by a network of scale four is 512 -> 640 -> 2560 and not 512 -> 2048 -> 8192 -> 2560, a thirteenth of the work
    for the same number of runs. No run leaves an axis with less than it had, unless the target is smaller.

    Args:
        halo: context in input pixels that a tile needs on each side.
        tile: largest side of a tile without this context.
        wrap: which axes are circles.
    """
    largest = max(target.width / source.width, target.height / source.height)
    if largest <= 1:
        return ()
    count = max(math.ceil(math.log(largest, scale) - 1e-9), 1) if scale > 1 else 1
    ratios = [_ratios(new / old, scale, count) for new, old in zip(target, source)]
    feather = max(halo // 4, 2)
    sides = TileSides(1, tile + 2 * halo)
    passes: list[EnlargePass] = []
    size = source
    for index, ratio in enumerate(zip(*ratios)):
        grown = Size(*(math.ceil(side * r - 1e-6) for side, r in zip(size, ratio)))
        plan = grid(size, sides, Cut(2 * halo + feather, feather, wrap=wrap))
        size = target if index == count - 1 else grown
        passes.append(EnlargePass(plan, ratio, size, scale))
    return tuple(passes)


def narrow(passes: tuple[EnlargePass, ...], region: Box | None) -> tuple[EnlargePass, ...]:
    """The passes with only the tiles that `region` of the last one's result depends on; `None` is all, as any in a circle."""
    chosen: list[EnlargePass] = []
    if any(any(step.plan.wrap) for step in passes):
        return passes
    for step in reversed(passes):
        if region is not None:
            x, y = step.ratio
            left, top = math.floor(region.left / x), math.floor(region.top / y)
            region = Box(left, top, math.ceil(region.right / x), math.ceil(region.bottom / y))
        plan, region = step.plan.narrow(region)
        chosen.insert(0, replace(step, plan=plan))
    return tuple(chosen)


def scale_span(span: Span, ratio: float, length: int | None) -> Span:
    """A span of an axis on the same axis enlarged by `ratio` to `length` pixels: those that lie wholly inside it.

    `None` is a circle, on which a span may lie beyond the length.
    """
    start = math.ceil(span.start * ratio - 1e-6)
    stop = math.floor(span.stop * ratio + 1e-6)
    if length is not None:
        stop = length if span.fall is None else min(stop, length)
    rise, fall = (None if switch is None else switch * ratio for switch in (span.rise, span.fall))
    return Span(start, stop, rise, fall, span.feather * ratio)


def _ratios(factor: float, scale: int, count: int) -> list[float]:
    """What an axis grows by in each of `count` runs: the last ones by all of `scale`, as far as there is so much to grow."""
    ratios: list[float] = []
    for later in reversed(range(count)):
        ratio, most = factor / scale**later, min(factor, 1.0)
        if ratio >= most:
            ratios.append(ratio)
            factor = float(scale**later)
        else:
            ratios.append(most)
            factor /= most
    return ratios
