"""What a run will do, and what that takes: passes, tiles, seams, work and memory.

The pipeline executes the plan, and everything that tells how much work there is reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .arrays.affine import Affine
from .arrays.store import RESIDENT
from .events import Stage
from .geometry import NO_WRAP, PNG_AS_A_WHOLE, Box, Size, Wrap
from .memory import Memory
from .models.base import USUAL, Habits
from .options.settings import Sampling
from .stages.faces import SIDE
from .tiling.passes import EnlargePass
from .tiling.tiles import Plan

_CANVAS_BYTES, _ALPHA_BYTES = 12, 4  # of a pixel: float32 in three channels, and in one
_FILE_BYTES = 4  # of a pixel, as Pillow holds it to write it
_IN_FLIGHT = 3  # tiles that a network has enlarged: being drawn, kept and blended
_PROCESS_BYTES = 60 << 20  # Python and the libraries of every run
_LIBRARY_BYTES = 485 << 20  # torch, and what runs networks with it: the same for any of them on a processor
NO_MODEL = Memory(0, 0.0)
_SOURCE_BYTES = 36  # of a pixel of the input: itself, what it is compared with, and their difference
_BESIDE = 0.5  # coding and filtering a tile, in evaluations: 0.2 with pocket, more where an autoencoder works


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run will do.

    Attributes:
        source, target: sizes of the picture that goes in and of the result.
        region: the part of the result that is wanted; `None` is all of it. The tiles below are those that it needs.
        passes: of the super-resolution network over the picture; none where there is none, or nothing to enlarge.
        layers: how often they are run: twice where there is opacity, which is enlarged like a second picture.
        tiles: of the diffusion pass; `None` without one.
        seams: the passes along the joints. With `auto` seams only those pieces that stand out are run.
        wrap: on which axes the picture goes on at its other side.
        start: column and row of the source where it begins on these axes, see `starting_at`.
        sampling, seam_sampling: how tiles and joints are redrawn.
        habits: of the refiner.
        faces: that are restored; `None` where there are none.
        squares: where the square of each of these lies in the result, see `stages.faces`.
        batch: tiles at once, as far as that is known: those that are asked for, else one.
        joint: all tiles are denoised together, as one.
        memories: what the models take, the super-resolution network's first; `None` where that is not known.
        plain: the refiner is given the bicubic enlargement as it is; the result alone is made true to the input.
    """

    source: Size
    target: Size
    region: Box | None
    passes: tuple[EnlargePass, ...]
    layers: int
    tiles: Plan | None
    seams: tuple[Plan, ...]
    sampling: Sampling
    seam_sampling: Sampling
    wrap: Wrap = NO_WRAP
    start: tuple[int, int] = (0, 0)
    habits: Habits = USUAL
    batch: int = 1
    joint: bool = False
    memories: tuple[Memory | None, Memory | None] = (None, None)
    plain: bool = False
    faces: Plan | None = None
    squares: tuple[Affine, ...] = ()

    def starting_at(self, x: int, y: int) -> RunPlan:
        """The same plan for a picture that goes around and begins at that column and row of the source.

        Tiles and what is random are counted from there, so that a rolled picture gives the rolled result.
        """
        started = replace(self, start=(x, y))
        sizes = (self.source, *(step.size for step in self.passes))
        return replace(
            started,
            passes=tuple(
                replace(step, plan=step.plan.move(*started.start_in(size))) for step, size in zip(self.passes, sizes)
            ),
            tiles=None if self.tiles is None else self.tiles.move(*started.start_in(self.target)),
            seams=tuple(plan.move(*started.start_in(self.target)) for plan in self.seams),
        )

    def start_in(self, size: Size) -> tuple[int, int]:
        """Where a copy of the picture that has this size begins."""
        return self.start[0] * size.width // self.source.width, self.start[1] * size.height // self.source.height

    @property
    def factor(self) -> float:
        """How many times larger the result is, on the axis where that is more."""
        return max(new / old for new, old in zip(self.target, self.source))

    @property
    def tile(self) -> Size | None:
        """Size of a tile as the diffusion model sees it."""
        return None if self.tiles is None else self.tiles.tile

    @property
    def gan_tiles(self) -> int:
        """Runs of the super-resolution network, one a tile."""
        return sum(len(step.plan) for step in self.passes) * self.layers

    @property
    def seam_tiles(self) -> int:
        """Pieces of the seam pass, at most."""
        return sum(map(len, self.seams))

    @property
    def evaluations(self) -> int:
        """Evaluations of the diffusion network, in tiles, at most."""
        tiles = 0 if self.tiles is None else len(self.tiles)
        each = self.habits.evaluations
        return tiles * each(self.sampling) + self.seam_tiles * each(self.seam_sampling)

    @property
    def picture_bytes(self) -> int:
        """Bytes that the pictures take while most of them are there, in memory or on disk, beside the models."""
        return max(self._picture_bytes)

    @property
    def memory_bytes(self) -> int | None:
        """Bytes of main memory that the process takes at most, with its models on the processor and its pictures in memory.

        `None` where a model does not say what it takes.
        """
        return self._peak(*self._picture_bytes)

    @property
    def beside_bytes(self) -> int | None:
        """The same with its pictures on the disk."""
        mapped = min(self.picture_bytes, RESIDENT)
        return self._peak(mapped, mapped, self._file_bytes + mapped)

    def _peak(self, enlarging: int, redrawing: int, writing: int) -> int | None:
        enlarger, redrawer = self.memories
        if enlarger is None or redrawer is None:
            return None
        libraries = _LIBRARY_BYTES if any(memory != NO_MODEL for memory in self.memories) else 0
        enlarged = enlarger.bytes(self._piece) + self._flying_bytes
        redrawn = redrawer.bytes(self._tile, batch=self.batch)
        at_work = max(
            enlarging + enlarged + redrawer.loaded,
            redrawing + enlarger.loaded + redrawn,
            writing + enlarger.loaded + redrawer.loaded,
            enlarger.loaded + redrawer.loaded + redrawer.loading,
        )
        return _PROCESS_BYTES + libraries + at_work

    def device_bytes(self, *, low_vram: bool) -> int | None:
        """Bytes of a device of its own that the models take at most; `None` where one does not say what it takes.

        Args:
            low_vram: the parts of the diffusion model are there in turn, and none of them before it is at work.
        """
        enlarger, redrawer = self.memories
        if enlarger is None or redrawer is None:
            return None
        redrawn = redrawer.bytes(self._tile, batch=self.batch, low_vram=low_vram)
        waiting = 0 if low_vram else redrawer.loaded
        return max(enlarger.bytes(self._piece) + waiting, enlarger.loaded + redrawn)

    @property
    def _piece(self) -> int:
        """Pixels of the largest piece that is enlarged at once."""
        pieces = (step.plan.tile for step in self.passes if len(step.plan))
        return max((size.width * size.height for size in pieces), default=0)

    @property
    def _flying_bytes(self) -> int:
        """Bytes of the pieces that are there at once, enlarged, where there are several."""
        drawn = (step.pixels // len(step.plan) for step in self.passes if len(step.plan) > 1)
        return _IN_FLIGHT * _CANVAS_BYTES * max(drawn, default=0)

    @property
    def _file_bytes(self) -> int:
        return _FILE_BYTES * min(self.target.width * self.target.height, PNG_AS_A_WHOLE)

    @property
    def _tile(self) -> int:
        """Pixels of a tile that is redrawn."""
        return 0 if self.tile is None else self.tile.width * self.tile.height

    @property
    def _picture_bytes(self) -> tuple[int, int, int]:
        """Of the pictures while they are enlarged, while tiles are redrawn, and while the result is written."""
        target, source = (size.width * size.height for size in (self.target, self.source))
        alpha = _ALPHA_BYTES if self.layers > 1 else 0
        enlarging = _CANVAS_BYTES * self.layers + alpha
        redrawing = 2 * _CANVAS_BYTES + alpha if self.tiles is not None else 0
        writing = _CANVAS_BYTES + alpha
        rest = source * _SOURCE_BYTES
        return enlarging * target + rest, redrawing * target + rest, writing * target + rest + self._file_bytes

    @property
    def work(self) -> dict[Stage, float]:
        """What each stage has to do, in pixels that a network draws; a stage that is not needed is left out.

        An evaluation of a tile counts its pixels once, and enlarging those of the result.
        """
        target = float(self.target.width * self.target.height)
        works = {Stage.ENLARGE: sum(step.pixels for step in self.passes) * float(self.layers) or target}
        if self.tiles is not None and self.tile is not None:
            area = self.tile.width * self.tile.height
            for stage, tiles, sampling in (
                (Stage.REFINE, len(self.tiles), self.sampling),
                (Stage.SEAMS, self.seam_tiles, self.seam_sampling),
            ):
                if tiles:
                    works[stage] = tiles * area * (self.habits.evaluations(sampling) + _BESIDE)
            works[Stage.FINISH] = target
        if self.faces is not None:
            works[Stage.FACES] = float(len(self.faces) * SIDE * SIDE)
        return works
