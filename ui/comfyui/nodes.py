"""The nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import ComfyExtension, io, ui

from ...upscaler.events import Stage
from ...upscaler.geometry import Size
from ...upscaler.image import Picture
from ...upscaler.planning import plan_run, plan_tiles
from ...upscaler.seams import seam_score
from ...upscaler.settings import Settings
from ...upscaler.wavelet import filter_detail
from . import inputs as table
from .gan import HostUpscaler, bundled, connected
from .grid import draw_grid
from .pictures import Array, layer_of, resized, sample_of, to_picture, to_tensor
from .refiner import HostRefiner, Inputs, native_tile
from .running import Bar, mend, run, shown, units_of

CATEGORY = "image/upscaling/tiled diffusion"
_GAN = table.row("gan").default
_NO_SCALE = ("scale", "width", "height", "megapixels", "gan", "gan_tile")
_SAMPLING = ("seed", "steps", "guidance", "strength")


def _rows(*names: str, required: bool = False) -> list[io.Input]:
    return [widget for name in names for widget in table.widgets(table.row(name), required=required)]


def _others(*used: str) -> list[io.Input]:
    """Inputs for all options but these."""
    return [widget for option in table.offered() if option.name not in used for widget in table.widgets(option)]


def _models() -> list[io.Input]:
    return [
        io.Model.Input("model"),
        io.Conditioning.Input("positive"),
        io.Conditioning.Input("negative"),
        io.Vae.Input("vae"),
    ]


def _sampling() -> list[io.Input]:
    """As Ultimate SD Upscale has them, in its order."""
    seed, steps, cfg, denoise = _rows(*_SAMPLING, required=True)
    return [seed, steps, cfg, *table.sampling_widgets(), denoise]


def _more() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "fixed_padding",
            optional=True,
            default=False,
            tooltip="hold the outer half of the padding as it is: the model sees it and does not change it",
        ),
        io.Mask.Input("mask", optional=True, tooltip="only where it is set is the picture redrawn"),
        io.Sampler.Input("custom_sampler", optional=True, tooltip="stands in for sampler_name"),
        io.Sigmas.Input(
            "custom_sigmas",
            optional=True,
            tooltip="stand in for steps, scheduler and denoise of the tiles; seams keep theirs",
        ),
    ]


def _host_inputs(given: dict[str, Any], settings: Settings) -> Inputs:
    names = ("model", "positive", "negative", "vae", "cfg", "sampler_name", "scheduler")
    custom = {name: given.get(name) for name in ("custom_sampler", "custom_sigmas")}
    whole = (settings.diffusion.strength, settings.diffusion.steps)
    return Inputs(**{name: given[name] for name in names}, **custom, whole=whole)


def _mask(given: dict[str, Any], index: int) -> Array | None:
    mask = given.get("mask")
    return None if mask is None else layer_of(sample_of(mask, index)[None])


def _ring(given: dict[str, Any], settings: Settings) -> int:
    return (settings.tiles.overlap - settings.tiles.feather) // 2 if given.get("fixed_padding") else 0


def _size(image: torch.Tensor) -> Size:
    return Size(image.shape[2], image.shape[1])


def _batch(pictures: list[Picture], image: torch.Tensor) -> torch.Tensor:
    return torch.stack([to_tensor(picture, alpha=image.shape[3] == 4) for picture in pictures])


def _upscaler(model: Any, gan: str) -> HostUpscaler | None:
    if model is not None:
        return connected(model)
    return None if gan == "none" else bundled(gan)


def _upscale(given: dict[str, Any], image: torch.Tensor, upscaler: HostUpscaler | None, **fixed: Any) -> torch.Tensor:
    """The batch of images through the engine, one by one."""
    size = _size(image)
    settings = table.settings_of(given, size, native_tile=native_tile(given["model"]), **fixed)
    host = _host_inputs(given, settings)
    scale, halo = (upscaler.scale, upscaler.halo) if upscaler else (0, 0)
    plan = plan_run(size, settings, scale=scale, halo=halo, multiple=host.multiple)
    bar = Bar(units_of(plan, settings), len(image))
    if upscaler is not None:
        upscaler.watcher = bar.step
    results: list[Picture] = []
    try:
        for index, sample in enumerate(image):
            bar.start(index)
            mask = _mask(given, index)
            refiner = HostRefiner(
                host,
                source=size,
                canvas=plan.target,
                index=index,
                ring=_ring(given, settings),
                mask=mask,
                watcher=bar.step,
            )
            picture = to_picture(sample)
            results.append(run(picture, settings, upscaler=upscaler, refiner=refiner, mask=mask, bar=bar))
    finally:
        if upscaler is not None:
            upscaler.release()
    return _batch(results, image)


class Upscale(io.ComfyNode):
    """Enlarge, redraw tile by tile, mend seams."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TDU_Upscale",
            display_name="Tiled Diffusion Upscale",
            category=CATEGORY,
            description="Enlarge by a super-resolution model, then redraw detail tile by tile, without seams and with "
            "the picture's own colours.",
            inputs=[
                io.Image.Input("image"),
                *_models(),
                *_rows("scale", required=True),
                *_sampling(),
                io.UpscaleModel.Input("upscale_model", optional=True, tooltip="default is the bundled model in gan"),
                *_others("scale", *_SAMPLING),
                *_more(),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, upscale_model: Any = None, gan: str = _GAN, **given: Any) -> io.NodeOutput:
        return io.NodeOutput(_upscale(given, image, _upscaler(upscale_model, gan)))


class Refine(io.ComfyNode):
    """Redraw tile by tile in the picture's own size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TDU_Refine",
            display_name="Tiled Diffusion Refine",
            category=CATEGORY,
            description="Redraw detail tile by tile in a picture that is large already.",
            inputs=[
                io.Image.Input("upscaled_image", display_name="image"),
                *_models(),
                *_sampling(),
                *_others(*_NO_SCALE, *_SAMPLING),
                *_more(),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, upscaled_image: torch.Tensor, **given: Any) -> io.NodeOutput:
        return io.NodeOutput(_upscale(given, upscaled_image, None, scale=1.0))


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
                *_rows("scale", required=True),
                *_rows("tile", "overlap", "feather", "width", "height", "megapixels"),
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
        size = _size(image)
        settings = table.settings_of(given, size)
        target = settings.target.of(size)
        plan = plan_tiles(target, settings.tiles, multiple=8)
        drawn = torch.from_numpy(draw_grid(to_picture(image[0]), target, plan))[None]
        tile = next(iter(plan)).box.size
        summary = f"{size} -> {target}: {len(plan)} tiles of {tile} px in {len(plan.columns)} columns and {len(plan.rows)} rows"
        return io.NodeOutput(drawn, summary, len(plan), ui=ui.PreviewImage(drawn, cls=cls))


class SeamFix(io.ComfyNode):
    """Redraw joints."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TDU_SeamFix",
            display_name="Seam Fix",
            category=CATEGORY,
            description="Redraw the joints that a tiled pass has left. Tile size and padding are those of that pass.",
            inputs=[
                io.Image.Input("image"),
                *_models(),
                *_sampling(),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="the picture before the tiled pass; with it Auto finds the joints that can be seen",
                ),
                *_rows(
                    "tile", "overlap", "feather", "seams", "seam_width", "wavelet_color", "wavelet_denoise", "batch"
                ),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, reference: torch.Tensor | None = None, **given: Any) -> io.NodeOutput:
        size = _size(image)
        if reference is None and given.get("seam_fix_mode", "Auto") == "Auto":
            given["seam_fix_mode"] = "Band Pass"  # all joints: nothing says which of them stand out
        settings = table.settings_of(given, size, native_tile=native_tile(given["model"]), scale=1.0)
        host = _host_inputs(given, settings)
        bar = Bar({Stage.SEAMS: 1.0}, len(image))
        results: list[Picture] = []
        for index, sample in enumerate(image):
            bar.start(index)
            picture = to_picture(sample)
            before = picture.pixels if reference is None else resized(to_picture(sample_of(reference, index)), size)
            refiner = HostRefiner(host, source=size, canvas=size, index=index, watcher=bar.step)
            shown(mend(picture, before, settings, refiner), bar)
            results.append(picture)
        return io.NodeOutput(_batch(results, image))


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
                *_rows("wavelet_color", "wavelet_denoise", required=True),
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
        size, small = _size(image), _size(reference)
        scale = size.width / small.width if small.width < size.width else upscale_by
        results: list[Picture] = []
        for index, sample in enumerate(image):
            picture = to_picture(sample)
            before = resized(to_picture(sample_of(reference, index)), size)
            filtered = filter_detail(picture.pixels, before, scale=scale, color=wavelet_color, denoise=wavelet_denoise)
            results.append(Picture(np.clip(filtered, 0, 1), alpha=picture.alpha))
        return io.NodeOutput(_batch(results, image))


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
                *_rows("tile", "overlap", "feather"),
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
        size = _size(image)
        settings = table.settings_of(given, size, scale=1.0)
        plan = plan_tiles(size, settings.tiles, multiple=8)
        pairs = [
            (to_picture(sample).pixels, resized(to_picture(sample_of(reference, index)), size))
            for index, sample in enumerate(image)
        ]
        scores = [seam_score(picture, before, plan) for picture, before in pairs]
        lines = [
            f"{len(score.visible)} of {len(score.joints)} joints stand out; worst {score.worst:.2f}, mean {score.mean:.2f}, "
            f"lines inside tiles {score.inside:.2f} (1/255)"
            for score in scores
        ]
        report = "\n".join(lines)
        worst, visible = max(score.worst for score in scores), sum(len(score.visible) for score in scores)
        return io.NodeOutput(worst, visible, report, ui=ui.PreviewText(report))


class Upscaler(ComfyExtension):
    """What the host asks for its nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [Upscale, Refine, TilePlan, SeamFix, WaveletFilter, SeamScore]
