"""The host's conditioning, cut to tiles.

A conditioning is a list of `[embedding, options]`. Most options do not know of places; the ones here do. What can differ
between the samples of a batch (masks, hints of ControlNets, reference latents) is stacked; what cannot (areas, boxes
of GLIGEN, which entries take part at all) decides which tiles may share a batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ....upscaler.geometry import Box, Size
from .pictures import cut, layer_of, sample_of, tensor_of

Conditioning = list[list[Any]]
_HOST_CELL = 8  # pixels in which areas and boxes are given, whatever the model
_SAME_SHAPE = 0.02  # reference latents of another shape than the canvas show something else, and stay whole
_LATENTS = ("concat_latent_image", "concat_mask")


@dataclass
class Group:
    """Tiles that can be sampled together, and what they are sampled with."""

    tiles: list[int]
    positive: Conditioning
    negative: Conditioning


@dataclass
class _Cut:
    """An entry under one tile: options that a batch shares, those that are stacked, and what tells batches apart."""

    key: tuple[Hashable, ...]
    shared: dict[str, Any]
    stacked: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Cutter:
    """Positive and negative conditioning of a canvas.

    Attributes:
        source: size of the picture that areas in pixels were meant for.
        canvas: size of the picture that the tiles lie in.
        cell: pixels of a latent cell.
        index: which picture of the host's batch this is.
    """

    positive: Conditioning
    negative: Conditioning
    source: Size
    canvas: Size
    cell: int
    index: int = 0

    def groups(self, boxes: Sequence[Box]) -> list[Group]:
        """The tiles in groups, in order of their first tile; tiles that no positive entry reaches are left out."""
        cuts: list[tuple[list[_Cut | None], list[_Cut | None]]] = []
        found: dict[Hashable, list[int]] = {}
        for number, box in enumerate(boxes):
            sides = tuple(
                [self._cut(entry[1], box, number) for entry in side] for side in (self.positive, self.negative)
            )
            cuts.append((sides[0], sides[1]))
            if any(sides[0]):
                found.setdefault(tuple(tuple(part and part.key for part in side) for side in sides), []).append(number)
        groups: list[Group] = []
        for tiles in found.values():
            copies: dict[int, Any] = {}
            positive = self._merge(self.positive, [cuts[tile][0] for tile in tiles], [boxes[t] for t in tiles], copies)
            negative = self._merge(self.negative, [cuts[tile][1] for tile in tiles], [boxes[t] for t in tiles], copies)
            # where nothing is unwanted, guidance has nothing to lead away from
            groups.append(Group(tiles, positive, negative or positive))
        return groups

    def _cut(self, options: dict[str, Any], box: Box, number: int) -> _Cut | None:
        """The options under a tile; `None` if the entry does not reach it."""
        part = _Cut((), dict(options))
        cells = Size(box.size.width // self.cell, box.size.height // self.cell)
        if "area" in options:
            area = self._area(options["area"], box, cells)
            if area is None:
                return None
            del part.shared["area"]
            if area != (cells.height, cells.width, 0, 0):
                part.shared["area"] = area
            part.key = (*part.key, area)
        if "mask" in options:
            mask = options["mask"]
            layer = layer_of(sample_of(mask if mask.ndim > 2 else mask[None], self.index)[None])
            mask = np.clip(cut(layer, box, self.canvas, cells), 0, 1)
            if mask.max() <= 1 / 255:
                return None
            part.stacked["mask"] = torch.from_numpy(mask[None, ..., 0])
            if options.get("set_area_to_bounds"):  # the host takes one area for the whole batch
                part.key = (*part.key, number)
        if options.get("gligen", ("",))[0] == "position":
            kind, model, objects = options["gligen"]
            kept = [(embedding, *area) for embedding, *given in objects if (area := self._area(given, box, cells))]
            part.shared["gligen"] = (kind, model, kept)
            if not kept:
                del part.shared["gligen"]
            part.key = (*part.key, tuple(tuple(item[1:]) for item in kept))
        if "target_width" in options:  # SDXL's size conditions: the tile is what is asked for
            part.shared["target_width"], part.shared["target_height"] = box.size
        for name in _LATENTS:
            if name in options:
                part.stacked[name] = self._latents(options[name], box, cells)
        for number, latents in enumerate(options.get("reference_latents", ())):
            part.stacked[f"reference_latents.{number}"] = self._reference(latents, box, cells)
        return part

    def _area(self, area: Sequence[Any], box: Box, cells: Size) -> tuple[int, int, int, int] | None:
        """(height, width, top, left) of the host, of the whole picture, in cells of the tile; `None` if it misses it."""
        if area[0] == "percentage":
            height, width, top, left = area[1:]
            x, y = self.canvas
        else:
            height, width, top, left = area
            x, y = (_HOST_CELL * large / small for large, small in zip(self.canvas, self.source))
        spans: list[tuple[int, int]] = []
        for start, length, scale, first, count in (
            (top, height, y, box.top, cells.height),
            (left, width, x, box.left, cells.width),
        ):
            begin = round((start * scale - first) / self.cell)
            end = round(((start + length) * scale - first) / self.cell)
            begin, end = max(begin, 0), min(end, count)
            if begin >= end:
                return None
            spans.append((begin, end - begin))
        (top, height), (left, width) = spans
        return height, width, top, left

    def _latents(self, latents: torch.Tensor, box: Box, cells: Size) -> torch.Tensor:
        """(1, C, h, w) under the tile; a dimension of frames is kept."""
        sample = sample_of(latents, self.index)
        flat = sample.reshape(-1, *sample.shape[-2:])
        return tensor_of(cut(layer_of(flat), box, self.canvas, cells)).reshape(1, *sample.shape[:-2], *cells[::-1])

    def _reference(self, latents: torch.Tensor, box: Box, cells: Size) -> torch.Tensor:
        height, width = latents.shape[-2:]
        if abs(width / height / (self.canvas.width / self.canvas.height) - 1) > _SAME_SHAPE:
            return sample_of(latents, self.index)[None]
        return self._latents(latents, box, cells)

    def _merge(
        self, entries: Conditioning, cuts: list[list[_Cut | None]], boxes: list[Box], copies: dict[int, Any]
    ) -> Conditioning:
        merged: Conditioning = []
        for number, (embedding, _) in enumerate(entries):
            parts = [part for tile in cuts if (part := tile[number]) is not None]
            if not parts:
                continue
            options = dict(parts[0].shared)
            references: list[torch.Tensor] = []
            for name in parts[0].stacked:
                stacked = torch.cat([part.stacked[name] for part in parts])
                if name.startswith("reference_latents."):
                    references.append(stacked)
                else:
                    options[name] = stacked
            if references:
                options["reference_latents"] = references
            if options.get("control") is not None:
                options["control"] = self._control(options["control"], boxes, copies)
            merged.append([embedding, options])
        return merged

    def _control(self, control: Any, boxes: list[Box], copies: dict[int, Any]) -> Any:
        """A copy of a chain of ControlNets whose hints are those of the tiles; the same copy for the same chain."""
        if id(control) not in copies:
            copy = control.copy()
            copy.cond_hint_original = self._hint(control.cond_hint_original, boxes)
            copy.extra_concat_orig = [self._hint(extra, boxes) for extra in control.extra_concat_orig]
            if control.previous_controlnet is not None:
                copy.set_previous_controlnet(self._control(control.previous_controlnet, boxes, copies))
            copies[id(control)] = copy
        return copies[id(control)]

    def _hint(self, hint: torch.Tensor | None, boxes: list[Box]) -> torch.Tensor | None:
        """(N, C, h, w) of the whole picture as (tiles, C, tile height, tile width); the host would centre it too."""
        if hint is None:
            return None
        layer = layer_of(sample_of(hint, self.index))
        return torch.cat([tensor_of(cut(layer, box, self.canvas, box.size, centred=True)) for box in boxes])
