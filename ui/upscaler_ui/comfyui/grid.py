"""The tiles of a plan, drawn on the picture."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageDraw

from ....upscaler.arrays.quantise import quantise, to_float
from ....upscaler.arrays.resample import resample
from ....upscaler.arrays.types import Image
from ....upscaler.geometry import Size
from ....upscaler.pictures.picture import Picture
from ....upscaler.tiling.spans import Axis, joints
from ....upscaler.tiling.tiles import Plan

_LARGEST = 2048
_SHARED, _JOINT = (255, 170, 0, 70), (255, 80, 40, 255)


def draw_grid(picture: Picture, target: Size, plan: Plan) -> Image:
    """The picture at the target's size, or at most 2048 px, with overlaps shaded and the joints in their middle."""
    size = target.fit(_LARGEST)
    share = max(size) / max(target)
    base = PIL.Image.fromarray(quantise(resample(picture.pixels, size), dither=False)).convert("RGBA")
    layer = PIL.Image.new("RGBA", size)
    draw = PIL.ImageDraw.Draw(layer)
    width = max(max(size) // 512, 1)
    for start, stop in _overlaps(plan.columns):
        draw.rectangle((start * share, 0, stop * share, size.height), fill=_SHARED)
    for start, stop in _overlaps(plan.rows):
        draw.rectangle((0, start * share, size.width, stop * share), fill=_SHARED)
    for x in joints(plan.columns):
        draw.line((x * share, 0, x * share, size.height), fill=_JOINT, width=width)
    for y in joints(plan.rows):
        draw.line((0, y * share, size.width, y * share), fill=_JOINT, width=width)
    drawn = PIL.Image.alpha_composite(base, layer).convert("RGB")
    return to_float(np.asarray(drawn))


def _overlaps(axis: Axis) -> list[tuple[int, int]]:
    return [(right.start, left.stop) for left, right in zip(axis, axis[1:])]
