"""What the engine asks of a model: two calls, in numpy only.

Everything outside `upscaler/models/` knows models through these protocols; plugins implement them over their
host's own models, `upscaler.testing` implements them without any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from ..arrays.types import Image
from ..geometry import Box, Size
from ..memory import Memory
from ..options.settings import Sampling, Scheduler
from ..tiling.grid import DEFAULT_SIDES, TileSides
from ..tiling.tiles import Plan
from ..tiling.worker import OnStep as OnStep
from ..tiling.worker import Pending as Pending

_ATTENTION = 0.17  # of SD 1.5 at 512 px: products of queries, keys and values, counted, over all other operations


@runtime_checkable
class Upscaler(Protocol):
    """A network that enlarges a picture by an integer factor.

    Attributes:
        scale: the factor, 1 to 8.
        halo: how many pixels of context, on each side and in input pixels, a tile needs for its result to be that of
            the whole picture (mean difference below 0.1/255).
    """

    scale: int
    halo: int

    def __call__(self, image: Image, *, on_step: OnStep | None = None) -> Image:
        """`image` (H, W, 3) enlarged to (H * scale, W * scale, 3); float32 in [0, 1] both. Deterministic.

        Args:
            on_step: called now and then with the parts of the work that are done and their number, if the network can
                tell; so that a run can be stopped within a large tile.

        Raises:
            OutOfMemory: the picture does not fit at once.
        """
        ...


@runtime_checkable
class Refiner(Protocol):
    """A model that redraws tiles with more detail.

    It is pure: a tile's result depends on the tile, its box, the sampling and the seed, never on the other tiles of
    the batch.

    Attributes:
        multiple: the sides of a tile are multiples of this.
        tile_sides: which sides of a tile it likes, where the settings leave that open.
        takes_prompt: optional; false where a prompt makes no difference.
        mixes_prompts: optional; true where `sampling` may be a `MixedSampling`, so that tiles with prompts of their own
            make one batch.
    """

    @property
    def multiple(self) -> int: ...

    @property
    def tile_sides(self) -> TileSides: ...

    def batch_size(self, tile: Size) -> int:
        """How many tiles of that size fit into the free memory at once; 0 if not even one seems to."""
        ...

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """The tiles redrawn: float32 in [0, 1], each of its own shape.

        Args:
            tiles: (h, w, 3) float32 in [0, 1], all of one shape, sides multiples of `multiple`.
            boxes: where they lie in the canvas, in pixels; what is random is a function of this position. In a picture that
                goes around it is counted from where that begins.
            sampling: strength, steps, prompt and so on; nothing left open.
            seed: >= 0; of the pass, not of the tile.
            on_step: to be called after each evaluation of the network.

        A tile that comes out with NaN or infinity is reported as it is; the caller keeps the original.

        Raises:
            OutOfMemory: the batch does not fit; the caller tries a smaller one.
        """
        ...


@runtime_checkable
class Begins(Protocol):
    """A refiner whose device works by itself, so that the next batch can be begun while the tiles of one come back."""

    def begin(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> Sequence[Pending]:
        """As a call of a `Refiner`, but without waiting for its tiles: that is what each of the results does."""
        ...


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a picture, in its pixels.

    Attributes:
        box: around it, from forehead to chin.
        points: (x, y) of the eyes, the tip of the nose and the corners of the mouth, each pair from left to right.
    """

    box: Box
    points: tuple[tuple[float, float], ...]


class FaceDetector(Protocol):
    """Finds the faces in a picture."""

    def __call__(self, image: Image) -> list[Face]:
        """The faces in `image`, (H, W, 3) float32 in [0, 1], of any size. Deterministic."""
        ...


class FaceRestorer(Protocol):
    """A network that draws a face anew."""

    def __call__(self, face: Image, *, on_step: OnStep) -> Image:
        """A face drawn anew: (512, 512, 3) float32 in [0, 1] both, its points where `stages.faces.POINTS` are.

        It is pure. A face that comes out with NaN or infinity is reported as it is; the caller keeps the original.

        Args:
            on_step: to be called now and then with the parts of the work that are done and their number.

        Raises:
            OutOfMemory: it does not fit.
        """
        ...


@runtime_checkable
class Joins(Protocol):
    """A refiner that can also denoise all tiles of a canvas together, step by step; its habits say `joint`."""

    def jointly(self, plan: Plan, batch: int) -> Refiner:
        """A refiner that takes the whole canvas as its one tile, and sees it as the tiles of a plan, blended at each step.

        Args:
            plan: tiles whose windows sum to one; none of them goes around the canvas.
            batch: tiles that the network evaluates at once, at most.
        """
        ...


def _evaluations(sampling: Sampling) -> int:
    """Of img2img: one for each step, and a second one for what guidance leads away from."""
    return sampling.steps * (2 if sampling.guidance > 1 else 1)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a refiner wants to be used where the settings leave it open; its attribute `habits`, if it has one.

    Attributes:
        steps: evaluations of a whole schedule, at strength 1; in proportion below.
        least: but not fewer than these.
        scheduler: one of `settings.Scheduler`, not "auto".
        guidance: 1 is off.
        first_stage: what its tiles are cut from. "any" is the result of the first stage, true to the input; "bicubic" is
            the plain bicubic enlargement, as long as no super-resolution network is named.
        defaults: values of other options, by name, that are the default with this model.
        ignores: names of options that make no difference.
        evaluations: how often it evaluates its network for one tile, with nothing left open.
        joint: whether it is one that `Joins`.
    """

    steps: int = 1
    least: int = 1
    scheduler: Scheduler = "ddim"
    guidance: float = 1.0
    first_stage: Literal["any", "bicubic"] = "any"
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ignores: tuple[str, ...] = ()
    evaluations: Callable[[Sampling], int] = _evaluations
    joint: bool = False

    def settle(self, sampling: Sampling) -> Sampling:
        """The sampling with everything said that was left open."""
        return replace(
            sampling,
            steps=sampling.steps or max(round(self.steps * sampling.strength), self.least),
            scheduler=self.scheduler if sampling.scheduler == "auto" else sampling.scheduler,
            guidance=sampling.guidance or self.guidance,
        )


USUAL = Habits()
"""Of a refiner that says nothing of its habits: one evaluation."""


def habits_of(refiner: object) -> Habits:
    """The habits of a refiner, or of one that is known and not loaded."""
    return getattr(refiner, "habits", USUAL)


class Enlarges(Protocol):
    """What a plan needs to know of an `Upscaler`."""

    @property
    def scale(self) -> int: ...
    @property
    def halo(self) -> int: ...


class Refines(Protocol):
    """What a plan needs to know of a `Refiner`."""

    @property
    def multiple(self) -> int: ...
    @property
    def tile_sides(self) -> TileSides: ...


@dataclass(frozen=True, slots=True)
class Enlarger:
    """An upscaler that is known and not loaded."""

    scale: int
    halo: int
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Redrawer:
    """A refiner that is known and not loaded."""

    multiple: int = 8
    tile_sides: TileSides = DEFAULT_SIDES
    habits: Habits = USUAL
    memory: Memory | None = None


def tile_sides(native: int | None) -> TileSides:
    """The sides that a Stable Diffusion model likes which was trained on squares of that side; `None` is not known."""
    return DEFAULT_SIDES if native is None else TileSides(native, native + 128, _ATTENTION)
