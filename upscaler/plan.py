"""From settings to geometry: what a run will do to a picture of some size, known before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from .geometry import Size
from .options.settings import Settings, Tiles
from .tiling.passes import enlarge_passes
from .tiling.seams import seam_plans
from .tiling.spans import Span, cover
from .tiling.tiles import Plan

CANVAS_BYTES = 28  # float32 picture and base, 12 each, and the 8-bit result; measured by benchmarks/canvas.py
_AUTO_TILE = 512  # what SD 1.x was trained on, and what `auto` stays at or below


def plan_tiles(size: Size, tiles: Tiles, *, multiple: int) -> Plan:
    """The tile plan of a picture, whose far sides may lie up to `multiple - 1` pixels beyond it."""
    counts = [int(part) for part in tiles.tile.split("x")] if "x" in tiles.tile else [0, 0]
    overlap = _align(tiles.overlap, multiple)

    def axis(length: int, count: int) -> tuple[Span, ...]:
        padded = _align(length, multiple)
        if tiles.tile == "auto":
            count = -(-max(padded - overlap, 1) // (_AUTO_TILE - min(overlap, _AUTO_TILE // 2)))
        side = (
            _align(-(-(padded + (count - 1) * overlap) // count), multiple)
            if count
            else _align(int(tiles.tile), multiple)
        )
        shared = min(overlap, side // 2 // multiple * multiple)
        return cover(padded, side, shared, feather=min(tiles.feather, shared), multiple=multiple)

    return Plan(axis(size.height, counts[1]), axis(size.width, counts[0]), tiles.order)


def _align(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do.

    Attributes:
        source, target: sizes of the picture that goes in and of the result.
        gan_tiles: runs of the super-resolution network, one a tile; twice as many where there is alpha to enlarge.
        gan_pixels: what it sees in all these runs, context included.
        tiles: the tile plan of the diffusion pass; `None` without one.
        seam_tiles: pieces of the seam pass at most; with `auto` only those that stand out are run.
        evaluations: of the diffusion network, in tiles, both passes; at most, with `auto` seams.
        canvas_bytes: memory for the pictures, beside the models.
    """

    source: Size
    target: Size
    gan_tiles: int
    gan_pixels: int
    tiles: Plan | None
    seam_tiles: int
    evaluations: int
    canvas_bytes: int

    @property
    def tile(self) -> Size | None:
        """Size of a tile as the diffusion model sees it."""
        return None if self.tiles is None else next(iter(self.tiles)).box.size


def plan_run(source: Size, settings: Settings, *, scale: int, halo: int, multiple: int, alpha: bool = False) -> RunPlan:
    """What a run with these settings does to a picture of size `source`.

    Args:
        scale, halo: of the super-resolution network; a scale of 0 is none.
        multiple: of the refiner.
        alpha: whether the picture has opacity, which is enlarged like a second picture.
    """
    target = settings.target.of(source)
    passes = enlarge_passes(source, target, scale=scale, halo=halo, tile=settings.gan.tile) if scale else []
    seen = [tile.box.size for step in passes for tile in step.plan] * (2 if alpha else 1)
    refines = settings.diffusion.model != "none" and settings.diffusion.strength > 0
    tiles = plan_tiles(target, settings.tiles, multiple=multiple) if refines else None
    seams = 0
    if tiles is not None and settings.seams.strength > 0:
        seams = sum(map(len, seam_plans(tiles, settings.seams.mode, width=settings.seams.width, multiple=multiple)))
    each = 2 if settings.diffusion.guidance > 1 else 1
    work = (len(tiles) * settings.diffusion.steps + seams * settings.seams.steps) * each if tiles is not None else 0
    return RunPlan(
        source,
        target,
        gan_tiles=len(seen),
        gan_pixels=sum(width * height for width, height in seen),
        tiles=tiles,
        seam_tiles=seams,
        evaluations=work,
        canvas_bytes=CANVAS_BYTES * target.width * target.height,
    )
