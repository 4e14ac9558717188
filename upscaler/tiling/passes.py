"""The runs of a super-resolution network that take a picture to an exact size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..geometry import Size
from .spans import Span, cover
from .tiles import Plan


@dataclass(frozen=True, slots=True)
class EnlargePass:
    """One run of the super-resolution network over a whole picture.

    Attributes:
        plan: tiles in pixels of the picture that goes in.
        ratio: how much larger (x, y) the result is; the network's own scale, or less in the first pass.
        size: of the result.
    """

    plan: Plan
    ratio: tuple[float, float]
    size: Size


def enlarge_passes(source: Size, target: Size, *, scale: int, halo: int, tile: int) -> list[EnlargePass]:
    """The fewest runs of a network of integer `scale` that reach `target`; none if it is not larger than `source`.

    What the network gives beyond the target is resampled away in the first pass, where the picture is smallest: five
    times by a network of scale four is 512 -> 640 -> 2560 and not 512 -> 2048 -> 8192 -> 2560, a thirteenth of the work
    for the same number of runs, and the last run lands on the target's pixels without any resampling.

    Args:
        halo: context in input pixels that a tile needs on each side.
        tile: side of a tile without this context.
    """
    factor = target.width / source.width, target.height / source.height
    largest = max(factor)
    if largest <= 1:
        return []
    count = max(math.ceil(math.log(largest, scale) - 1e-9), 1) if scale > 1 else 1
    passes: list[EnlargePass] = []
    size = source
    for index in range(count):
        first, last = index == 0, index == count - 1
        least = scale ** (count - 1)
        ratio = (factor[0] / least, factor[1] / least) if first else (float(scale), float(scale))
        grown = Size(*(math.ceil(side * r - 1e-6) for side, r in zip(size, ratio)))
        result = target if last else grown
        feather = max(halo // 4, 2)
        side, overlap = tile + 2 * halo, 2 * halo + feather
        rows, columns = (cover(length, side, overlap, feather=feather) for length in (size.height, size.width))
        plan = Plan(rows, columns)
        passes.append(EnlargePass(plan, ratio, result))
        size = result
    return passes


def scale_span(span: Span, ratio: float, length: int) -> Span:
    """A span of an axis on the same axis enlarged by `ratio` to `length` pixels: those that lie wholly inside it."""
    start = math.ceil(span.start * ratio - 1e-6)
    stop = length if span.fall is None else min(math.floor(span.stop * ratio + 1e-6), length)
    rise, fall = (None if switch is None else switch * ratio for switch in (span.rise, span.fall))
    return Span(start, stop, rise, fall, span.feather * ratio)
