"""Settings and the size of a picture become a `RunPlan`, before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .errors import SettingsError
from .geometry import Box, Size, Wrap
from .memory import Memory
from .models.base import Enlarges, Face, Refines, habits_of, memory_of
from .options.settings import Settings, Tiles
from .run_plan import NO_MODEL, RunPlan
from .stages.consistency import PLAIN_RADIUS, RADIUS
from .stages.faces import place, plan_faces
from .stages.seam_score import margin_of_score
from .tiling.grid import Cut, TileSides, counted_grid, grid
from .tiling.passes import EnlargePass, enlarge_passes, narrow
from .tiling.seams import seam_plans
from .tiling.tiles import Plan

_LEAST_PART = 0.8  # of the largest side that is asked for: a tile is rather this large than smaller


def plan_run(
    source: Size,
    settings: Settings,
    *,
    upscaler: Enlarges | None,
    refiner: Refines | None,
    alpha: bool = False,
    region: Box | None = None,
    faces: Sequence[Face] = (),
) -> RunPlan:
    """What a run with these settings does to a picture of size `source`.

    Args:
        upscaler, refiner: the models, or what is known of them; `None` leaves their stage out.
        alpha: whether the picture has opacity.
        region: only this part of the result is wanted, in its pixels.
        faces: those in the picture, in its pixels.

    Raises:
        SettingsError: the target size is out of range for this picture, or this refiner has no joint mode.
    """
    target, wrap = settings.target.of(source), Wrap.of(settings.tiles.wrap)
    factor = max(new / old for new, old in zip(target, source))
    habits, asked = habits_of(refiner), settings.diffusion.sampling
    sampling = habits.settle(asked)
    seam_sampling = habits.settle(replace(asked, strength=settings.seams.strength, steps=settings.seams.steps))
    restored, squares, needed = None, (), region
    if faces and settings.faces.strength > 0:
        squares = tuple(place(face, source, target) for face in faces)
        restored, needed = plan_faces(squares, target).narrow(region)
    tiles, seams, plain = None, (), False
    joint = refiner is not None and settings.tiles.mode == "joint"
    if joint and not habits.joint:
        raise SettingsError("tiles.mode: this diffusion model cannot denoise tiles together; use tiles")
    if refiner is not None and sampling.strength > 0:
        plain = upscaler is None and habits.first_stage == "bicubic"
        tiles = plan_tiles(target, settings.tiles, refiner)
        joints = plan_seams(tiles, settings, multiple=refiner.multiple)
        needed = _around(needed, math.ceil((RADIUS if plain else PLAIN_RADIUS) * factor), target)
        seams, needed = _narrow_all(joints, needed)
        if settings.seams.mode == "auto" and joints:  # a piece is judged by what lies around it
            needed = _around(needed, margin_of_score(tiles), target)
        tiles, needed = (tiles, None) if joint else tiles.narrow(needed)
    passes: tuple[EnlargePass, ...] = ()
    if upscaler is not None:
        passes = enlarge_passes(
            source, target, scale=upscaler.scale, halo=upscaler.halo, tile=settings.gan.tile, wrap=wrap
        )
        passes = narrow(passes, _around(needed, math.ceil(RADIUS * factor), target))
    return RunPlan(
        source=source,
        target=target,
        region=region,
        passes=passes,
        layers=2 if alpha else 1,
        tiles=tiles,
        seams=seams,
        sampling=sampling,
        seam_sampling=seam_sampling,
        wrap=wrap,
        habits=habits,
        batch=max(settings.tiles.batch, 1),
        joint=joint,
        memories=(_memory(upscaler), _memory(refiner)),
        plain=plain,
        faces=restored or None,
        squares=squares,
    )


def plan_tiles(size: Size, tiles: Tiles, refiner: Refines) -> Plan:
    """The tiles of a picture: as the settings ask, and where they leave it open as the model likes them."""
    multiple, liked = refiner.multiple, refiner.tile_sides
    cut = Cut(tiles.overlap, tiles.feather, multiple, tiles.order, Wrap.of(tiles.wrap))
    if "x" in tiles.tile:
        columns, rows = (int(part) for part in tiles.tile.split("x"))
        return counted_grid(size, columns, rows, cut)
    if tiles.tile != "auto":
        largest = int(tiles.tile)
        liked = TileSides(math.ceil(largest * _LEAST_PART), largest, liked.attention)
    return grid(size, liked, cut)


def plan_seams(tiles: Plan, settings: Settings, *, multiple: int) -> list[Plan]:
    """The passes along the joints of some tiles, as the settings ask."""
    if settings.seams.strength == 0:
        return []
    return seam_plans(tiles, settings.seams.mode, width=settings.seams.width, multiple=multiple)


def _narrow_all(plans: list[Plan], box: Box | None) -> tuple[tuple[Plan, ...], Box | None]:
    """Passes that follow one another, with the tiles that `box` needs, and what it needs before the first."""
    narrowed: list[Plan] = []
    for plan in reversed(plans):
        plan, box = plan.narrow(box)
        narrowed.insert(0, plan)
    return tuple(narrowed), box


def _around(box: Box | None, margin: int, size: Size) -> Box | None:
    return None if box is None else box.grow(margin, size)


def _memory(model: object | None) -> Memory | None:
    return NO_MODEL if model is None else memory_of(model)
