"""What differs from tile to tile: its prompt, and how much of it is redrawn.

All of it follows from the picture that came in and from where the tile lies, never from other tiles, so that neither their
order nor their batches matter, and a preview of an area is that area of the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

from ..arrays.types import Image
from ..geometry import Box, Size, Wrap
from ..models.base import OnStep, Pending
from ..options.regions import Region, regions
from ..options.settings import MixedSampling, Sampling, Settings
from ..text import count
from ..tiling.canvas import cut
from ..tiling.tiles import Plan
from ..tiling.worker import part_of
from .texture import TextureMap

Caption = Callable[[Image], str]
"""Says what a tile shows, (h, w, 3) float32 in [0, 1]: its whole prompt. A pure function."""

_COVERS, _LIES_IN = 0.25, 0.5  # a region counts for a tile of which it covers so much, or in which so much of it lies
_PLAIN = 0.4  # of the picture's mean detail: below it a tile does not show the subject
_FLAT = 0.06  # detail below which a tile is not redrawn
_GENTLE = 0.6  # part of the strength that is taken off where all is clear
_UNCLEAR, _CLEAR = 0.25, 0.75  # clarity of texture, and of clean lines
_ENOUGH = 1.25  # times its detail is one where a tile is redrawn at the full strength
_LEVELS = 4  # parts of the strength, so that tiles of one strength make batches


class Places:
    """Prompts and strengths by place."""

    def __init__(
        self, pixels: Image, canvas: Size, settings: Settings, *, wrap: Wrap, prompts: bool, caption: Caption | None
    ) -> None:
        """
        Args:
            pixels: of the picture that came in, (h, w, 3).
            canvas: size of the result.
            prompts: whether the refiner reads them.
        """
        diffusion = settings.diffusion
        self._canvas, self._wrap = canvas, wrap
        self._prefix, self._regions = regions(diffusion.tile_prompt if prompts else "")
        self._caption = caption if prompts else None
        self._general = without_subject(diffusion.prompt)
        self._adaptive = settings.tiles.adaptive
        self._strips = prompts and bool(diffusion.prompt) and not diffusion.prompt_everywhere
        self._texture = TextureMap(pixels, canvas, wrap) if self._adaptive or self._strips else None
        self._plain = 0.0 if self._texture is None else _PLAIN * self._texture.mean.detail

    @property
    def differ(self) -> bool:
        """Whether anything depends on the place."""
        return bool(self._regions) or self._caption is not None or self._texture is not None

    def share(self, box: Box) -> float:
        """Which part of the strength a tile is redrawn at: 0, or one of a few up to 1."""
        if not self._adaptive or self._texture is None:
            return 1.0
        look = self._texture.under(box)
        if look.detail < _FLAT:
            return 0.0
        clear = min(max((look.clarity - _UNCLEAR) / (_CLEAR - _UNCLEAR), 0.0), 1.0)
        wanted = min(look.detail * _ENOUGH, 1.0) * (1 - _GENTLE * clear)
        return max(round(wanted * _LEVELS), 1) / _LEVELS

    def sampling(self, sampling: Sampling, box: Box, crop: Image, *, least: int) -> Sampling:
        """How a tile is redrawn that is not left out.

        Args:
            sampling: of the pass.
            crop: the tile as the refiner is given it.
            least: evaluations that the refiner needs.
        """
        share = self.share(box)
        steps = max(round(sampling.steps * share), min(least, sampling.steps))
        return replace(
            sampling, strength=sampling.strength * share, steps=steps, prompt=self._prompt(sampling.prompt, box, crop)
        )

    def _prompt(self, prompt: str, box: Box, crop: Image) -> str:
        here = [region for region in self._regions if self._counts(region, box)]
        if here:
            words = ", ".join(each.prompt if each.weight == 1 else f"({each.prompt}:{each.weight:g})" for each in here)
            return f"{self._prefix} {words}".strip()
        if self._caption is not None:
            return str(self._caption(crop))
        if self._strips and self._texture is not None:
            return self._general if self._texture.under(box).detail < self._plain else prompt
        return prompt

    def _counts(self, region: Region, box: Box) -> bool:
        width, height = self._canvas
        area = Box(
            round(region.left * width),
            round(region.top * height),
            round(region.right * width),
            round(region.bottom * height),
        )
        parts = [part.inside for part in box.parts(self._canvas, self._wrap)]
        shared = sum(_area(meeting) for part in parts if (meeting := part.meet(area)) is not None)
        return shared >= _COVERS * sum(map(_area, parts)) or shared >= _LIES_IN * max(_area(area), 1)

    def together(self, sampling: Sampling, canvas: Image, plan: Plan) -> MixedSampling:
        """For tiles that are denoised together, each by its own prompt."""
        return mixed(
            sampling, [self._prompt(sampling.prompt, tile.box, cut(canvas, tile.box, plan.wrap)) for tile in plan]
        )

    def tell(self, plans: Sequence[Plan]) -> str | None:
        """What the strengths of all tiles come to, in words."""
        if not self._adaptive:
            return None
        shares = Counter(self.share(tile.box) for plan in plans for tile in plan)
        phrases = [
            f"{count(tiles, 'tile')} {'left out as flat' if share == 0 else f'at {share:.0%}'}"
            for share, tiles in sorted(shares.items(), reverse=True)
        ]
        return f"adaptive strength: {', '.join(phrases)}"


def without_subject(prompt: str) -> str:
    """A prompt without its first part, up to the first comma outside of brackets: what is left tells of the whole picture.

    >>> without_subject("a lighthouse, photograph, sharp"), without_subject("a lighthouse")
    ('photograph, sharp', '')
    """
    depth = 0
    for place, character in enumerate(prompt):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth <= 0:
            return prompt[place + 1 :].strip()
    return ""


def draw_each(
    draw: Callable[..., Sequence[Image | Pending]],
    crops: Sequence[Image],
    boxes: Sequence[Box],
    samplings: Sequence[Sampling],
    *,
    mixes: bool,
    seed: int,
    on_step: OnStep,
) -> list[Image | Pending]:
    """What a refiner makes of tiles each of which has a sampling of its own, in as few batches as it allows.

    Args:
        draw: a call of the refiner.
        mixes: whether it takes a `MixedSampling`.
    """
    groups: dict[Sampling, list[int]] = {}
    for index, sampling in enumerate(samplings):
        groups.setdefault(replace(sampling, prompt="") if mixes else sampling, []).append(index)
    drawn: list[Image | Pending] = list(crops)
    for number, (sampling, members) in enumerate(groups.items()):
        if mixes:
            sampling = mixed(sampling, [samplings[index].prompt for index in members])
        results = draw(
            [crops[index] for index in members],
            boxes=[boxes[index] for index in members],
            sampling=sampling,
            seed=seed,
            on_step=part_of(on_step, number, len(groups)),
        )
        for index, result in zip(members, results):
            drawn[index] = result
    return drawn


def mixed(sampling: Sampling, prompts: Sequence[str]) -> MixedSampling:
    """The sampling with a prompt for each tile."""
    return MixedSampling(
        **{item.name: getattr(sampling, item.name) for item in fields(Sampling)}, prompts=tuple(prompts)
    )


def _area(box: Box) -> int:
    return box.size.width * box.size.height
