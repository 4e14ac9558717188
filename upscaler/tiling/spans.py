"""Where tiles lie and where their windows switch: pure values, planned per axis and combined by outer product.

A plan is two tuples of spans, one for each axis. A span says where a box lies on its axis and where its window
switches on and off; the window of a tile is the product of its two one-dimensional windows. Neighbouring spans of
a covering share the position of their switch, so that their windows telescope to exactly one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a tile: the box `[start, stop)`, and where its window switches on and off, in pixels.

    `rise` and `fall` are the middles of the two switches, `feather` is how wide a switch is (0 is a hard one).
    `None` means that the window never switches on that side, because the box ends where the picture does. On an axis
    that is a circle every span has both, and `stop` may lie beyond the length: there it goes on at 0.
    """

    start: int
    stop: int
    rise: float | None = None
    fall: float | None = None
    feather: float = 0.0

    def move(self, by: int) -> Span:
        """The same span so many pixels further on."""
        rise, fall = (None if switch is None else switch + by for switch in (self.rise, self.fall))
        return Span(self.start + by, self.stop + by, rise, fall, self.feather)


Axis = tuple[Span, ...]


def cover(length: int, tile: int, overlap: int, *, feather: float, multiple: int = 1) -> Axis:
    """Equal spans, evenly spread, that cover `[0, length)`; the last one ends flush with it.

    All arguments are in pixels; `length` and `tile` are multiples of `multiple`, and so is every start. Neighbours
    overlap by at least `overlap` (< `tile`) and there is never a thin remainder. A picture no longer than a tile
    gets one span of its own length.

    >>> [(span.start, span.stop) for span in cover(1000, 400, 50, feather=20)]
    [(0, 400), (300, 700), (600, 1000)]
    """
    if length <= tile:
        return (Span(0, length),)
    cells, size, shared = length // multiple, tile // multiple, -(-overlap // multiple)
    return spread(length, -(-(cells - shared) // (size - shared)), tile, feather=feather, multiple=multiple)


def spread(length: int, count: int, tile: int, *, feather: float, multiple: int = 1) -> Axis:
    """`count` spans of one side, evenly spread over `[0, length)`; they hand over in the middle of what they share.

    `length` and `tile` are multiples of `multiple`, in pixels, and so is every start; `count * tile >= length`.
    """
    if count == 1:
        return (Span(0, length),)
    cells, size = length // multiple, tile // multiple
    starts = [i * (cells - size) // (count - 1) * multiple for i in range(count)]
    return _spans(starts, tile, [(left + tile + right) / 2 for left, right in zip(starts, starts[1:])], feather)


def spread_around(length: int, count: int, tile: int, *, feather: float, multiple: int = 1) -> Axis:
    """`count` spans of one side, evenly spread around a circle of `length` pixels, each handing over to the next.

    `tile` and every start are multiples of `multiple`; `count * tile > length`.

    >>> [(span.start, span.stop, span.rise, span.fall) for span in spread_around(100, 2, 60, feather=4)]
    [(0, 60, 5.0, 55.0), (50, 110, 55.0, 105.0)]
    """
    starts = [i * length // count // multiple * multiple for i in range(count)]
    switches = [(left + tile + right) / 2 for left, right in zip(starts, [*starts[1:], length])]
    return _ring(starts, tile, switches, length, feather)


def is_circle(axis: Axis) -> bool:
    """Whether a covering goes around: its first span too takes over from another one."""
    return axis[0].rise is not None


def shift_half(axis: Axis, *, multiple: int = 1) -> Axis:
    """A covering of the same length whose joints lie in the middle of the spans of `axis`, none on a joint of it."""
    if is_circle(axis):
        tile, length = _tile_and_length(axis)
        middles = [float((span.start + span.stop) // 2 // multiple * multiple) for span in axis]
        switches = [*middles[1:], middles[0] + length]
        starts = [
            round(((a + b) / 2 - tile / 2) / multiple) * multiple
            for a, b in zip([switches[-1] - length, *switches], switches)
        ]
        return _ring(starts, tile, switches, length, axis[0].feather)
    if len(axis) == 1:
        return axis
    tile, length = _tile_and_length(axis)
    switches = [float((span.start + span.stop) // 2 // multiple * multiple) for span in axis]
    edges = [0.0, *switches, float(length)]
    starts = [_start((a + b) / 2, tile, length, multiple) for a, b in zip(edges, edges[1:])]
    return _spans(starts, tile, switches, axis[0].feather)


def across(axis: Axis, width: float, *, multiple: int = 1) -> Axis:
    """One span for each joint of `axis`: a full tile centred on it, whose window lives on `width` pixels around it.

    The window is one on the joint and zero from `width / 2` on at both sides; `width` is at most the tile less
    `multiple`, so that it is zero at the box's sides too.
    """
    tile, length = _tile_and_length(axis)
    spans: list[Span] = []
    for joint in joints(axis):
        if is_circle(axis):
            start = round((joint - tile / 2) / multiple) * multiple
            around = length if start < 0 else 0
            start, joint = start + around, joint + around
        else:
            start = _start(joint, tile, length, multiple)
        spans.append(Span(start, start + tile, joint - width / 4, joint + width / 4, width / 2))
    return tuple(spans)


def joints(axis: Axis) -> list[float]:
    """Where neighbouring spans hand over to each other, in pixels.

    >>> joints(cover(1000, 400, 50, feather=20))
    [350.0, 650.0]
    """
    return [span.rise for span in axis if span.rise is not None]


def _tile_and_length(axis: Axis) -> tuple[int, int]:
    tile = axis[0].stop - axis[0].start
    first, last = axis[0].rise, axis[-1].fall
    return tile, axis[-1].stop if first is None or last is None else round(last - first)


def _ring(starts: list[int], tile: int, switches: list[float], length: int, feather: float) -> Axis:
    """Spans around a circle; each ends its window at its switch, and begins it at the one before."""
    rises = [switches[-1] - length, *switches[:-1]]
    room = [rise - start for start, rise in zip(starts, rises)]
    room += [start + tile - switch for start, switch in zip(starts, switches)]
    feather = min([feather, *(2 * value for value in room)])
    return tuple(Span(start, start + tile, rise, fall, feather) for start, rise, fall in zip(starts, rises, switches))


def _spans(starts: list[int], tile: int, switches: list[float], feather: float) -> Axis:
    """Neighbours that share a switch; the feather is narrowed where a box would cut it off."""
    rises, falls = [None, *switches], [*switches, None]
    room = [switch - start for start, switch in zip(starts[1:], switches)]
    room += [start + tile - switch for start, switch in zip(starts, switches)]
    feather = min([feather, *(2 * value for value in room)])
    return tuple(Span(start, start + tile, rise, fall, feather) for start, rise, fall in zip(starts, rises, falls))


def _start(centre: float, tile: int, length: int, multiple: int) -> int:
    """Start of a box of `tile`, centred as well as the grid of `multiple` and the ends of the picture allow."""
    start = round((centre - tile / 2) / multiple) * multiple
    return min(max(start, 0), length - tile)
