"""The nodes that redraw: a whole run, one without enlarging, and joints alone."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ....upscaler import pipeline
from ....upscaler.events import Stage
from ....upscaler.options.settings import Settings
from ....upscaler.pictures.picture import Picture
from ....upscaler.resolve import plan_run
from ....upscaler.timing import HOST_MODEL, Expected, expected
from . import inputs as table
from .gan import HostUpscaler, bundled, connected
from .inputs import CATEGORY, rows
from .pictures import Array, batch_of, layer_of, pairs, sample_of, size_of, to_picture
from .refiner import HostRefiner
from .running import Bar, show
from .sampling import Inputs, native_tile

_GAN = table.row("gan").default
_NO_SCALE = ("scale", "width", "height", "megapixels", "gan", "gan_tile")
_SAMPLING = ("seed", "steps", "guidance", "strength")


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
    seed, steps, cfg, denoise = rows(*_SAMPLING, required=True)
    return [seed, steps, cfg, *table.sampling_widgets(), denoise]


def _more() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "fixed_padding",
            optional=True,
            default=False,
            tooltip="hold the outer half of the padding as it is: the model sees it and does not change it",
        ),
        io.Mask.Input("mask", optional=True, tooltip="the picture is redrawn only where this is set"),
        io.Sampler.Input("custom_sampler", optional=True, tooltip="stands in for sampler_name"),
        io.Sigmas.Input(
            "custom_sigmas",
            optional=True,
            tooltip="stand in for steps, scheduler and denoise of the tiles; seams keep theirs",
        ),
    ]


def _host_inputs(given: dict[str, Any], settings: Settings) -> Inputs:
    names = ("model", "positive", "negative", "vae", "cfg", "sampler_name", "scheduler")
    custom: dict[str, Any] = {name: given.get(name) for name in ("custom_sampler", "custom_sigmas")}
    whole = (settings.diffusion.strength, settings.diffusion.steps)
    return Inputs(**{name: given[name] for name in names}, **custom, whole=whole)


def _mask(given: dict[str, Any], index: int) -> Array | None:
    mask = given.get("mask")
    return None if mask is None else layer_of(sample_of(mask, index)[None])


def _ring(given: dict[str, Any], settings: Settings) -> int:
    return (settings.tiles.overlap - settings.tiles.feather) // 2 if given.get("fixed_padding") else 0


def _upscaler(model: Any, gan: str) -> HostUpscaler | None:
    if model is not None:
        return connected(model)
    return None if gan == "none" else bundled(gan)


def _upscale(given: dict[str, Any], image: torch.Tensor, upscaler: HostUpscaler | None, **fixed: Any) -> torch.Tensor:
    """The batch of images through the engine, one by one."""
    size = size_of(image)
    settings = table.settings_of(given, size, native_tile=native_tile(given["model"]), **fixed)
    host = _host_inputs(given, settings)
    plan = plan_run(size, settings, upscaler=upscaler, refiner=host)
    bar = Bar(expected(plan, settings.but(model=HOST_MODEL)), len(image))
    release = (lambda: None) if upscaler is None else upscaler.release
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
            area = None if mask is None else mask[..., 0]
            events = pipeline.run(
                to_picture(sample), settings, upscaler=upscaler, refiner=refiner, mask=area, inline=True
            )
            results.append(show(events, bar, after_enlarging=release))
    finally:
        release()
        if upscaler is not None:
            upscaler.watcher = None  # it holds the last picture, and a bundled network stays
    return batch_of(results, image)


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
                *rows("scale", required=True),
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
                *rows("tile", "overlap", "feather", "seams", "seam_width", "wavelet_color", "wavelet_denoise", "batch"),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, reference: torch.Tensor | None = None, **given: Any) -> io.NodeOutput:
        size = size_of(image)
        settings = table.settings_of(given, size, native_tile=native_tile(given["model"]), scale=1.0)
        drawn = settings.diffusion
        settings = settings.but(seam_strength=drawn.strength, seam_steps=drawn.steps)
        host = _host_inputs(given, settings)
        bar = Bar({Stage.SEAMS: Expected(1.0, learned=False)}, len(image))
        results: list[Picture] = []
        for index, (picture, before) in enumerate(pairs(image, reference)):
            bar.start(index)
            refiner = HostRefiner(host, source=size, canvas=size, index=index, watcher=bar.step)
            before = None if reference is None else before
            events = pipeline.mend(picture, settings, refiner=refiner, reference=before, inline=True)
            results.append(show(events, bar))
        return io.NodeOutput(batch_of(results, image))
