"""The nodes that need no diffusion model: what tiles there would be, colour and noise, and how joints show."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui

from ....upscaler.models.base import Redrawer
from ....upscaler.pictures.picture import Picture
from ....upscaler.resolve import plan_tiles
from ....upscaler.stages.detail import filter_detail
from ....upscaler.stages.seam_score import seam_score
from .grid import draw_grid
from .inputs import CATEGORY, rows, settings_of
from .pictures import batch_of, pairs, size_of, to_picture


class TilePlan(io.ComfyNode):
    """Show the tiles."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TDU_TilePlan",
            display_name="Tile Plan",
            category=CATEGORY,
            description="Show the tiles that an upscale would be made of, on the picture, before anything is run.",
            inputs=[
                io.Image.Input("image"),
                *rows("scale", required=True),
                *rows("tile", "overlap", "feather", "width", "height", "megapixels"),
            ],
            outputs=[
                io.Image.Output(display_name="plan"),
                io.String.Output(display_name="summary"),
                io.Int.Output(display_name="tiles"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: torch.Tensor, **given: Any) -> io.NodeOutput:
        size = size_of(image)
        settings = settings_of(given, size)
        target = settings.target.of(size)
        plan = plan_tiles(target, settings.tiles, Redrawer())
        drawn = torch.from_numpy(draw_grid(to_picture(image[0]), target, plan))[None]
        tile = plan.tile
        summary = f"{size} -> {target}: {len(plan)} tiles of {tile} px in {len(plan.columns)} columns and {len(plan.rows)} rows"
        return io.NodeOutput(drawn, summary, len(plan), ui=ui.PreviewImage(drawn, cls=cls))


class WaveletFilter(io.ComfyNode):
    """Colour and tone of a reference, and none of the noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TDU_WaveletFilter",
            display_name="Wavelet Filter",
            category=CATEGORY,
            description="Give a redrawn picture the colours and the tone of the one before, and take away the noise and "
            "the texture that do not belong there.",
            inputs=[
                io.Image.Input("image"),
                io.Image.Input("reference", tooltip="the picture before it was redrawn, or a smaller one of it"),
                *rows("wavelet_color", "wavelet_denoise", required=True),
                io.Float.Input(
                    "upscale_by",
                    optional=True,
                    default=4.0,
                    min=1.0,
                    max=16.0,
                    step=0.5,
                    tooltip="how many times larger than its source the picture is; a smaller reference says so itself",
                ),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        reference: torch.Tensor,
        wavelet_color: float,
        wavelet_denoise: float,
        upscale_by: float = 4.0,
    ) -> io.NodeOutput:
        size, small = size_of(image), size_of(reference)
        scale = size.width / small.width if small.width < size.width else upscale_by
        results: list[Picture] = []
        for picture, before in pairs(image, reference):
            filtered = filter_detail(picture.pixels, before, scale=scale, color=wavelet_color, denoise=wavelet_denoise)
            results.append(Picture(np.clip(filtered, 0, 1), alpha=picture.alpha))
        return io.NodeOutput(batch_of(results, image))


class SeamScore(io.ComfyNode):
    """How visible joints are."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TDU_SeamScore",
            display_name="Seam Score",
            category=CATEGORY,
            description="Measure how visible the joints between tiles are. Tile size and padding are those of the pass.",
            inputs=[
                io.Image.Input("image"),
                io.Image.Input("reference", tooltip="the picture before the tiled pass"),
                *rows("tile", "overlap", "feather"),
            ],
            outputs=[
                io.Float.Output(display_name="worst"),
                io.Int.Output(display_name="visible"),
                io.String.Output(display_name="report"),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: torch.Tensor, reference: torch.Tensor, **given: Any) -> io.NodeOutput:
        size = size_of(image)
        settings = settings_of(given, size, scale=1.0)
        plan = plan_tiles(size, settings.tiles, Redrawer())
        scores = [seam_score(picture.pixels, before, plan) for picture, before in pairs(image, reference)]
        lines = [
            f"{len(score.visible)} of {len(score.joints)} joints stand out; worst {score.worst:.2f}, mean {score.mean:.2f}, "
            f"lines inside tiles {score.inside:.2f} (1/255)"
            for score in scores
        ]
        report = "\n".join(lines)
        worst, visible = max(score.worst for score in scores), sum(len(score.visible) for score in scores)
        return io.NodeOutput(worst, visible, report, ui=ui.PreviewText(report))
