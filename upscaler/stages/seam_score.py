"""How visible the joints between tiles are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays.types import Image
from ..geometry import Box, Size, Wrap
from ..tiling.canvas import cut
from ..tiling.grid import DEFAULT_SIDES, Cut, grid
from ..tiling.spans import Span, joints, shift_half
from ..tiling.tiles import Plan

_SIDE = 16  # pixels on either side of a joint whose mean is the tone there
_NEAR = (2, 3, 4, 5, 6)  # distances at which the ordinary gradient is taken
_VISIBLE = 0.75  # in 1/255: a joint below this is left alone, whatever the picture around it


@dataclass(frozen=True, slots=True)
class Joint:
    """A piece of a joint, as long as the piece that would redraw it.

    Attributes:
        box: the band around it, in pixels.
        vertical: whether it divides left from right.
        row, column: the tile of the seam plan that covers it.
        score: how visible it is, in 1/255 of the value range.
        inside: what lines in the middle of the two tiles beside it score, where there is no joint: the yardstick.
    """

    box: Box
    vertical: bool
    row: int
    column: int
    score: float
    inside: float

    @property
    def limit(self) -> float:
        """The score up to which it is invisible: what the tiles beside it score inside, and at least 0.75/255."""
        return max(_VISIBLE, self.inside)

    @property
    def visible(self) -> bool:
        """Whether it stands out."""
        return self.score > self.limit


@dataclass(frozen=True, slots=True)
class SeamScore:
    """How visible the joints of a picture are: every piece of a joint with its score."""

    joints: tuple[Joint, ...]

    @property
    def worst(self) -> float:
        """Score of the most visible joint, in 1/255."""
        return max((joint.score for joint in self.joints), default=0.0)

    @property
    def mean(self) -> float:
        """Mean score of the joints, in 1/255; to be compared with `inside`."""
        return sum(joint.score for joint in self.joints) / max(len(self.joints), 1)

    @property
    def inside(self) -> float:
        """Mean score of lines inside tiles, in 1/255."""
        return sum(joint.inside for joint in self.joints) / max(len(self.joints), 1)

    @property
    def visible(self) -> tuple[Joint, ...]:
        """The joints that stand out."""
        return tuple(joint for joint in self.joints if joint.visible)


def where_visible(bands: Sequence[Plan], score: SeamScore) -> list[Plan]:
    """Of the bands along all joints, as `tiling.seams.seam_plans` gives them, those whose joint stands out."""
    vertical, horizontal = (
        {(joint.row, joint.column) for joint in score.visible if joint.vertical is way} for way in (True, False)
    )
    return [
        part.only(lambda tile, visible=visible: (tile.row, tile.column) in visible)
        for part, visible in zip(bands, (vertical, horizontal))
    ]


@dataclass(frozen=True, slots=True)
class SeamReport:
    """Seam scores around the seam pass, and how many pieces it redrew."""

    before: SeamScore
    after: SeamScore
    redrawn: int


def seam_score(image: Image, reference: Image, plan: Plan | None = None) -> SeamScore:
    """The seam score of `image` for the joints of a tile plan.

    What is scored is the difference of the two pictures, so that edges which the picture has anyway do not count. A
    joint's score is the step of the tone across it (difference of the means of 16 px on either side of the cross-fade;
    median along the joint) plus the excess of the gradient on the line itself over that of the lines 2 to 6 px beside
    it, each less three standard errors, so that texture does not count; the worst colour channel, in 1/255. A step of 1/255 on a smooth gradient is seen and the same step
    inside texture is not: hence the yardstick `Joint.inside`.

    Args:
        image, reference: (H, W, 3) float32; the reference is the picture before the tiles were redrawn.
        plan: of the pass that drew the tiles; default is that of the default settings for a model that likes 512 px.
    """
    height, width = image.shape[:2]
    if plan is None:
        plan = grid(Size(width, height), DEFAULT_SIDES, Cut(64, 32, multiple=8))
    pieces: list[Joint] = []
    for vertical in (True, False):
        pictures = (image, reference) if vertical else (image.swapaxes(0, 1), reference.swapaxes(0, 1))
        crossed, along = (plan.columns, plan.rows) if vertical else (plan.rows, plan.columns)
        wrap = plan.wrap if vertical else Wrap(plan.wrap.y, plan.wrap.x)
        before = -1 if wrap.x else 0  # the line inside the tile in front of the first joint
        middles = joints(shift_half(crossed))
        gap = int(-(-crossed[0].feather // 2))
        for place, span in enumerate(shift_half(along)):
            inside = [_measure(*pictures, x, span, gap, wrap)[1] for x in middles]
            for line, joint in enumerate(joints(crossed)):
                box, score = _measure(*pictures, joint, span, gap, wrap)
                yardstick = max(inside[line + before], inside[line + before + 1])
                if vertical:
                    pieces.append(Joint(box, True, place, line, score, yardstick))
                else:
                    turned = Box(box.top, box.left, box.bottom, box.right)
                    pieces.append(Joint(turned, False, line, place, score, yardstick))
    return SeamScore(tuple(pieces))


def margin_of_score(plan: Plan) -> int:
    """How far beyond the piece that would redraw a joint its score depends on the picture, in pixels."""
    feather = max(span.feather for axis in (plan.rows, plan.columns) for span in axis)
    return math.ceil(feather / 2) + 2 * _SIDE


def _measure(image: Image, reference: Image, joint: float, span: Span, gap: int, wrap: Wrap) -> tuple[Box, float]:
    """Band and score of the vertical joint at column `joint`, along the part of the rows where `span`'s window is on."""
    reach = gap + _SIDE
    middle = math.floor(joint + 0.5)
    length, across_length = image.shape[:2]
    top = 0 if span.rise is None else int(span.rise)
    bottom = length if span.fall is None else int(span.fall) if wrap.y else min(int(span.fall), length)
    box = Box(middle - reach, top, middle + reach, bottom)
    if not wrap.x:
        box = box._replace(left=max(box.left, 0), right=min(box.right, across_length))
    if box.left >= box.right or box.top >= box.bottom:
        return box, 0.0
    difference = cut(image, box, wrap) - cut(reference, box, wrap)
    line = middle - box.left
    if not _SIDE < line < difference.shape[1] - _SIDE:
        return box, 0.0
    left = difference[:, : line - gap].mean(axis=1)
    right = difference[:, line + gap :].mean(axis=1)
    steepness = np.abs(np.diff(difference, axis=1))
    ordinary = np.mean([np.median(steepness[:, line - 1 + k], axis=0) for near in _NEAR for k in (near, -near)], axis=0)
    tone = _beyond_texture(right - left)
    excess = np.maximum(_beyond_texture(steepness[:, line - 1] - ordinary, above=True), 0)
    return box, float((tone + excess).max() * 255)


def _beyond_texture(values: NDArray[np.float32], *, above: bool = False) -> NDArray[np.float32]:
    """Size of the median over the rows, (3,), less three times its standard error: what texture does not explain."""
    median = np.median(values, axis=0)
    error = 3 * 1.2533 * values.std(axis=0) / np.sqrt(len(values))
    return np.maximum((median if above else np.abs(median)) - error, 0)
