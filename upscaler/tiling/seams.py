"""The plans of the passes that redraw the joints of a plan."""

from __future__ import annotations

from ..geometry import SeamMode
from .spans import across, joints, shift_half
from .tiles import Plan


def seam_plans(plan: Plan, mode: SeamMode, *, width: int, multiple: int) -> list[Plan]:
    """The passes that redraw the joints of `plan`, one after the other; every window is zero on all sides of its box.

    `band`: a band of `width` along each joint (the vertical ones, then the horizontal ones), cut into tiles that meet
    half-way between the crossings. `auto`: the same, of which a run leaves out those whose joint cannot be seen.
    `half-tile`: tiles shifted by half a tile across the joint, as wide as a tile.
    `half-tile+intersections`: these, and a tile on every crossing.
    """
    if mode == "none":
        return []
    tile = min((axis[0].stop - axis[0].start for axis in (plan.rows, plan.columns) if joints(axis)), default=0)
    widest = tile - multiple
    if mode in ("band", "auto"):
        side = min(width, widest)
        halves = [shift_half(axis, multiple=multiple) for axis in (plan.rows, plan.columns)]
        bands = [across(axis, side, multiple=multiple) for axis in (plan.rows, plan.columns)]
        pairs = [(halves[0], bands[1]), (bands[0], halves[1])]
        return [Plan(*pair, plan.order, wrap=plan.wrap) for pair in pairs]
    rows, columns = (across(axis, widest, multiple=multiple) for axis in (plan.rows, plan.columns))
    pairs = [(plan.rows, columns), (rows, plan.columns)]
    if mode == "half-tile+intersections":
        pairs.append((rows, columns))
    return [Plan(*pair, plan.order, wrap=plan.wrap) for pair in pairs]
