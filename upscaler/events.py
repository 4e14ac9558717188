"""What a run reports while it runs: a stream of `Progress` and `Notice`, closed by one `Finished`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Union

from .geometry import Box

if TYPE_CHECKING:
    from .options.settings import Settings
    from .pictures.picture import Picture
    from .stages.seam_score import SeamReport


class Stage(str, Enum):
    """The stages of a run, in their order."""

    ENLARGE = "enlarge"
    REFINE = "refine"
    SEAMS = "seams"
    FINISH = "finish"
    FACES = "faces"

    def __str__(self) -> str:
        return self.value

    @property
    def label(self) -> str:
        """What is going on, for a progress bar."""
        return _LABELS[self]


_LABELS = {
    Stage.ENLARGE: "Enlarging",
    Stage.REFINE: "Refining",
    Stage.SEAMS: "Mending seams",
    Stage.FINISH: "Finishing",
    Stage.FACES: "Restoring faces",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage has come.

    Attributes:
        stage: which one.
        done, total: finished tiles, and tiles in all.
        step, steps: finished evaluations of the batch at work, and its evaluations in all; 0 of 0 between batches.
        boxes: where the batch at work (or just finished, when `step` is 0) lies in the canvas, in pixels.
        picture: the result as it stands, with the input's metadata. Its pixels are a live view that later tiles change,
            so copy or save what you keep; a run that is closed early leaves in it all that was finished.
    """

    stage: Stage
    done: int
    total: int
    step: int = 0
    steps: int = 0
    boxes: tuple[Box, ...] = ()
    picture: Picture | None = field(default=None, repr=False, compare=False)

    @property
    def fraction(self) -> float:
        """Finished part of the stage, 0 to 1."""
        within = len(self.boxes) * self.step / self.steps if self.steps else 0.0
        return min((self.done + within) / self.total, 1.0) if self.total else 1.0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know and that did not stop the run; one line."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The result.

    Attributes:
        picture: the large picture with alpha, profile and metadata of the input.
        settings: what made it, complete.
        seconds: wall time of each stage that ran.
        seams: how visible the joints of the tiles are, before and after the seam pass; `None` without a diffusion pass.
    """

    picture: Picture
    settings: Settings
    seconds: Mapping[Stage, float]
    seams: SeamReport | None = None


Event = Union[Progress, Notice, Finished]
