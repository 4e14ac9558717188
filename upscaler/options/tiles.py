"""Settings of the tiles: how the picture is cut, and what becomes of the joints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..errors import SettingsError
from ..geometry import Order, SeamMode, TileMode, WrapMode
from .spec import Group, Spec


@dataclass(frozen=True, kw_only=True)
class Tiles(Group):
    """How the picture is cut."""

    tile: Annotated[
        str,
        Spec.of(
            "largest side of a tile in px, COLUMNSxROWS, or auto for what suits the model",
            "--tile",
            "-t",
            pattern=r"auto|[1-9]\d{0,6}|[1-9]\d{0,6}x[1-9]\d{0,6}",
        ),
    ] = "auto"
    overlap: Annotated[
        int,
        Spec.of(
            "context that neighbouring tiles share, at most half of a tile",
            "--overlap",
            low=0,
            high=2048,
            step=8,
            unit="px",
        ),
    ] = 64
    feather: Annotated[
        int,
        Spec.of(
            "width of the cross-fade between tiles, at most the overlap",
            "--feather",
            low=0,
            high=2048,
            step=8,
            unit="px",
        ),
    ] = 32
    mode: Annotated[
        TileMode,
        Spec.of(
            "tiles: each tile is denoised on its own; joint: all of them together, blended at every step, with memory for the "
            "whole picture",
            "--mode",
        ),
    ] = "tiles"
    order: Annotated[
        Order,
        Spec.of("independent: all tiles from one picture; chess, linear: later tiles see finished ones", "--order"),
    ] = "independent"
    wrap: Annotated[
        WrapMode,
        Spec.of("the picture continues at its opposite side: x for panoramas, both for seamless textures", "--wrap"),
    ] = "none"
    adaptive: Annotated[
        bool,
        Spec.of(
            "redraw texture at full strength, clear lines and letters more gently, and plain tiles not at all",
            "--adaptive",
        ),
    ] = False
    batch: Annotated[
        int,
        Spec.of(
            "tiles processed at once; 0 is as many as fit into memory", "--batch", low=0, high=1024, step=1, auto=True
        ),
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feather > self.overlap:
            raise SettingsError(
                f"tiles.feather: {self.feather} px is above the overlap of {self.overlap} px; lower it or raise tiles.overlap"
            )
        if self.tile.isdigit() and not 64 <= int(self.tile) <= 8192:
            raise SettingsError(
                f"tiles.tile: {self.tile} px is outside 64 to 8192; use a number in it, COLUMNSxROWS or auto"
            )
        if self.tile.isdigit() and self.overlap * 2 > int(self.tile):
            raise SettingsError(
                f"tiles.overlap: {self.overlap} px is above half of the tile of {self.tile} px; lower it or raise tiles.tile"
            )
        for name, neutral in (("order", "independent"), ("wrap", "none"), ("adaptive", False)):
            if self.mode == "joint" and getattr(self, name) != neutral:
                raise SettingsError(
                    f"tiles.mode: joint denoises all tiles together, so tiles.{name} {getattr(self, name)} is not for it; use "
                    f"tiles.{name} {neutral}, or tiles.mode tiles"
                )


@dataclass(frozen=True, kw_only=True)
class Seams(Group):
    """The pass that redraws the joints between tiles."""

    mode: Annotated[SeamMode, Spec.of("where joints are redrawn; auto is only where they can be seen", "--seams")] = (
        "auto"
    )
    strength: Annotated[
        float, Spec.of("how much is redrawn along the joints", "--seam-strength", low=0, high=1, step=0.01)
    ] = 0.2
    width: Annotated[
        int, Spec.of("width of the band around a joint", "--seam-width", low=8, high=1024, step=8, unit="px")
    ] = 64
    steps: Annotated[
        int,
        Spec.of(
            "sampling steps along the joints; 0 is auto: what the model needs at this strength",
            "--seam-steps",
            low=0,
            high=200,
            step=1,
            auto=True,
        ),
    ] = 0
