"""Keeps what a refiner added to a picture true to it: tone and colour locked, noise and invented texture removed.

Everything works on the difference between the refined picture and its reference, so that where a refiner changed
nothing, nothing is changed, bit for bit. All statistics are local: see `reach`.

The difference is taken apart octave by octave. The two finest octaves, where nearly all pixels and most of the noise
are, are judged undecimated, by a pyramid: that needs no cycle spinning and leaves no pattern. The octaves below are
judged in the oriented bands of a wavelet transform, which tell an edge from a blotch. What lies below these is tone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..arrays.pyramid import PHASES, double, halve, mean_square, part, weave
from ..arrays.types import Array
from ..arrays.ycc import channels, join_into, luma_of, smooth, split
from .shrink import pyramid_limit, shrink

_PYRAMID = 2  # octaves judged by the pyramid

# Set by what survives of a dozen photographs that "refine" their own enlarged quarter or a blurred copy: at the default
# strength more than 46 dB, and more than nine tenths of the detail's energy in textured areas.
_TEXTURE = np.float32((2 / 255) ** 2)  # variance of detail at which a place begins to count as textured
_GROWTH = np.float32(184)  # how much of a textured place's variance the finest octave may add
_CHROMA_SHARE = np.float32(0.14)  # detail of chroma as a part of luma's
_NOTHING = np.float32((0.05 / 255) ** 2)  # room in which less than half of 1/255 survives


class _Judgement(NamedTuple):
    levels: int  # octaves that are detail
    color: float
    denoise: float
    spins: int  # transforms that are averaged for the octaves below the pyramid


def filter_detail(
    refined: Array,
    reference: Array,
    *,
    scale: float,
    color: float = 1.0,
    denoise: float = 0.5,
    room: Array | None = None,
) -> Array:
    """`refined` with the tone of `reference` and without the noise and the texture that do not belong there.

    Tone is all that varies slower than about `2^lock_levels` pixels; that of chroma begins two octaves finer: colour
    is the input's, detail is the refiner's. Detail has to fit into the room that a place of the reference has: where
    it is flat, no texture can grow. Chroma has a seventh of luma's room.

    Args:
        refined, reference: (H, W, 3) float32; the reference is what the refiner was given.
        scale: how many times larger the picture is than its input: decides which octaves are tone and which detail.
        color: how much of the tone is the reference's, 0 to 1.
        denoise: 0 (all detail is kept) to 1; 0.5 is BayesShrink's threshold, 1 twice that.
        room: what `room_of` says of the reference, if it was asked already; it is overwritten.

    Source: StableSR's wavelet colour fix (https://arxiv.org/abs/2305.07015), on luma and chroma; for `denoise` see
    `shrink`.
    """
    if color == 0 and denoise == 0:
        return refined
    height, width = refined.shape[:2]
    refined, reference = _fill(refined), _fill(reference)
    levels = lock_levels(scale)
    change = refined - reference
    planes = zip(*(split(change[row::2, column::2]) for row, column in PHASES))
    luma, *chroma = (list(phases) for phases in planes)
    room = room_of(reference) if room is None else room
    _judge([luma], room, 1, _Judgement(levels, color, denoise, spins=2))
    room *= _CHROMA_SHARE
    _judge(chroma, room, 1, _Judgement(levels - 2, color, denoise, spins=1))
    for (row, column), *phases in zip(PHASES, luma, *chroma):
        join_into(change[row::2, column::2], phases)
    change += refined
    return change[:height, :width]


def has_nothing_to_refine(room: Array, *, color: float = 1.0, denoise: float = 0.5) -> bool:
    """Whether `filter_detail` would take away whatever a refiner adds, so that less than half of 1/255 is left.

    Args:
        room: of what the refiner would be given.
        color, denoise: as for `filter_detail`.
    """
    return color == 1 and denoise >= 0.5 and bool(room.max() < _NOTHING)


def lock_levels(scale: float) -> int:
    """The level below which a picture enlarged `scale` times is locked: three octaves below the input's finest."""
    return max(round(math.log2(scale)), 0) + 3


def reach(scale: float) -> int:
    """How far, in pixels, a result of `filter_detail` depends on its surroundings; a multiple of its alignment."""
    block = 1 << lock_levels(scale)
    tone, transforms, statistics = block, 6 * block, 3 * block
    return tone + transforms + statistics


def _fill(image: Array) -> Array:
    """The picture with its last row and column repeated until its sides have all phases in all of the pyramid."""
    below, beside = (-side % (1 << _PYRAMID) for side in image.shape[:2])
    return np.pad(image, ((0, below), (0, beside), (0, 0)), "edge") if below or beside else image


def room_of(reference: Array) -> Array:
    """The variance (h / 2, w / 2) that a coefficient of the finest octave of luma may have, in a picture (H, W, 3)."""
    reference = _fill(reference)
    luma = [luma_of(*channels(reference[row::2, column::2])) for row, column in PHASES]
    low = halve(luma)
    for phase, base in zip(luma, double(low)):
        phase -= base
    low -= smooth(low, 2)
    low *= low
    low += mean_square(luma)
    activity = smooth(low, 2)
    textured = activity + _TEXTURE
    activity *= activity
    activity *= _GROWTH
    activity /= textured
    return activity


def _judge(planes: Sequence[list[Array]], room: Array, octave: int, judgement: _Judgement) -> None:
    """Turn planes, which are judged as one, into what has to be added to them, from one octave on.

    Args:
        planes: each in phases.
        room: (h / 2, w / 2), the variance that a coefficient of this octave may have.
    """
    lows = [halve(plane) for plane in planes]
    if octave < min(_PYRAMID, judgement.levels):
        phases = [part(low) for low in lows]
        _judge(phases, room[::2, ::2] * np.float32(4), octave + 1, judgement)
        changes = [weave(change) for change in phases]
    else:
        changes = _change_below(lows, room, octave, judgement)
    if not judgement.denoise:
        for plane, change in zip(planes, changes):
            plane[:] = double(change)
        return
    for plane, low in zip(planes, lows):
        for phase, base in zip(plane, double(low)):
            phase -= base
    limit = pyramid_limit(planes, room, octave, judgement.denoise)
    opposite = -limit
    for plane, change in zip(planes, changes):
        for phase, base in zip(plane, double(change)):
            np.minimum(phase, limit, out=phase)
            np.maximum(phase, opposite, out=phase)
            np.subtract(base, phase, out=phase)


def _change_below(lows: Sequence[Array], room: Array, octave: int, judgement: _Judgement) -> list[Array]:
    """What has to be added to the low bands that the pyramid has left: octaves of detail, and tone."""
    levels, color, denoise, spins = judgement
    changes: list[Array] = []
    tones = [smooth(low, levels - octave) for low in lows]
    details = [low - tone for low, tone in zip(lows, tones)]
    kept = details
    if denoise and levels > octave:
        kept = shrink(details, room, octave, levels=levels, strength=denoise, tone=1 - color, spins=spins)
    for tone, before, after in zip(tones, details, kept):
        change = after - before
        change -= np.float32(color) * tone
        changes.append(change)
    return changes
