"""The img2img script: enlarge, then redraw in tiles with all that the tab says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import gradio as gr
import modules.scripts
import numpy as np
from modules import devices, images, processing, shared
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFilter, ImageOps

from ....upscaler import load, pipeline, to_pil
from ....upscaler.arrays.quantise import to_float
from ....upscaler.errors import Cancelled
from ....upscaler.events import Notice, Progress, Stage
from ....upscaler.forecast import Forecast
from ....upscaler.geometry import Size
from ....upscaler.models.base import Upscaler
from ....upscaler.options.settings import Settings
from ....upscaler.options.spec import Option
from ....upscaler.pictures.picture import Picture
from ....upscaler.resolve import plan_run
from ....upscaler.text import duration
from ....upscaler.timing import HOST_MODEL, expected
from . import form, networks
from .tiles import HostRefiner, TileJob

TITLE = "Tiled diffusion upscale"
HELP = (
    "From this tab come the checkpoint, prompts, styles, sampler, sampling steps, CFG scale, seed, denoising strength "
    "(0.2 to 0.4 is usual), scripts such as ControlNet, the mask, batch count (results with other seeds) and batch size "
    "(tiles at once; leave it at 1 with ControlNet). Its width, height and resize mode are not used."
)
_PREVIEW = 1024  # longest side of the live preview


class Script(modules.scripts.Script):
    """A selectable script of the img2img tab."""

    def title(self) -> str:
        return TITLE

    def show(self, is_img2img: bool) -> bool:
        return is_img2img

    def ui(self, is_img2img: bool) -> list[Any]:
        """The widgets, one for each option, in the order of `form.script_options()`."""
        self.networks = networks.names()
        gr.HTML(f"<p>{HELP}</p>")
        widgets: list[Any] = []
        for group, title in form.GROUPS.items():
            with gr.Accordion(title, open=group in ("target", "gan")):
                chosen = [option for option in form.script_options() if option.group == group]
                widgets += [form.widget(option, self.networks, elem_id=self.elem_id(option.name)) for option in chosen]
        chosen = form.script_options()
        self.infotext_fields = [(widget, partial(_paste, option)) for option, widget in zip(chosen, widgets)]
        self.paste_field_names = [form.infotext_label(option) for option in chosen]
        return widgets

    def run(self, p: Any, *args: Any) -> processing.Processed:
        """What the host shows: one result for each picture and each of the tab's batch count.

        Interrupt keeps what was finished. `p` is left as it was.

        Raises:
            UpscalerError: in one line.
        """
        chosen = form.script_options()
        values = form.read(chosen, args, self.networks)
        settings = Settings.of(strength=float(p.denoising_strength), **values)
        job = TileJob.of(p)
        job.extra_generation_params.update({"Script": TITLE, **form.to_infotext(chosen, settings)})
        first, job.subseed = processing.get_fixed_seed(p.seed), processing.get_fixed_seed(p.subseed)
        pictures = [load(image, max_pixels=None) for image in p.init_images]
        seeds = [first + index for index in range(p.n_iter)]
        upscaler = networks.load(settings.gan.model)
        ahead = [_jobs(picture.size, settings, upscaler, job) for picture in pictures for _ in seeds]
        shared.state.job_count = sum(ahead)
        results: list[_Result] = []
        for picture in pictures:
            mask = _mask(p, settings.target.of(picture.size))
            for seed in seeds:
                if results and networks.interrupted():
                    break
                refiner = HostRefiner(job)
                image = _upscale(picture, settings.but(seed=seed), upscaler, refiner, mask)
                ahead.pop(0)
                shared.state.job_no = shared.state.job_count - sum(ahead)  # also what skipped tiles would have been
                results.append(_Result.of(p, refiner.last or job, seed, image))
                results[-1].save()
        del upscaler
        devices.torch_gc()
        return processing.Processed(
            results[0].job,
            [result.image for result in results],
            seeds[0],
            results[0].infotext,
            all_seeds=[result.seed for result in results],
            infotexts=[result.infotext for result in results],
        )


def _paste(option: Option, params: Mapping[str, str]) -> Any:
    """What the widget of an option gets from an infotext; `None` leaves it as it is."""
    value = form.from_infotext(option, params)
    if option.optional and params.get("Script") == TITLE:  # the host cannot tell the type of an empty field
        return gr.update(value=value)
    return value


class _Result(NamedTuple):
    """A picture, with the job as the host shall see it."""

    image: Pillow.Image
    seed: int
    job: TileJob
    infotext: str

    @classmethod
    def of(cls, p: Any, tile_job: TileJob, seed: int, image: Pillow.Image) -> _Result:
        """What the tab said, with what the host and other scripts noted on a tile."""
        job = TileJob.of(tile_job)
        job.width, job.height, job.do_not_save_samples = p.width, p.height, p.do_not_save_samples
        job.denoising_strength = job.extra_generation_params["Denoising strength"] = p.denoising_strength
        job.setup_prompts()
        job.all_seeds, job.all_subseeds = [seed], [job.subseed]
        infotext = processing.create_infotext(
            job, job.all_prompts, job.all_seeds, job.all_subseeds, use_main_prompt=True
        )
        if shared.opts.enable_pnginfo:
            image.info["parameters"] = infotext
        return cls(image, seed, job, infotext)

    def save(self) -> None:
        """Write the picture where the host's settings say so."""
        job = self.job
        if job.save_samples():
            format = shared.opts.samples_format
            images.save_image(
                self.image, job.outpath_samples, "", self.seed, job.main_prompt, format, info=self.infotext, p=job
            )


def _upscale(
    picture: Picture,
    settings: Settings,
    upscaler: Upscaler | None,
    refiner: HostRefiner,
    mask: NDArray[np.float32] | None,
) -> Pillow.Image:
    """The picture enlarged; where the user interrupted it, as far as it came."""
    result, stage = picture, None
    plan = plan_run(picture.size, settings, upscaler=upscaler, refiner=refiner)
    forecast = Forecast(expected(plan, settings.but(model=HOST_MODEL)))
    try:
        for event in pipeline.run(picture, settings, upscaler=upscaler, refiner=refiner, mask=mask, inline=True):
            if isinstance(event, Progress):
                result = event.picture or result
                forecast.note(event)
                if event.stage is not stage:
                    stage = event.stage
                    _enter(event, refiner)
                if event.step == 0:
                    _show(event, forecast.left)
            elif isinstance(event, Notice):
                refiner.job.comment(event.message)
            else:
                result = event.picture
    except Cancelled:
        pass
    return to_pil(result)


def _enter(event: Progress, refiner: HostRefiner) -> None:
    """Count the jobs of the host's progress bar: enlarging is one, each batch of tiles is one."""
    if event.stage is Stage.REFINE:
        shared.state.nextjob()
    elif event.stage is Stage.SEAMS:
        shared.state.job_count += math.ceil(event.total / refiner.job.batch_size)


def _show(event: Progress, left: float) -> None:
    """Tell the host how far the stage has come, and show it the canvas."""
    state = shared.state
    state.textinfo = f"{event.stage.label}: {event.done} of {event.total}, about {duration(left)} left"
    if event.stage is Stage.ENLARGE:
        state.sampling_step, state.sampling_steps = event.done, max(event.total, 1)
    if shared.opts.live_previews_enable and event.picture is not None:
        state.assign_current_image(Pillow.fromarray(event.picture.preview(_PREVIEW)))


def _jobs(size: Size, settings: Settings, upscaler: Upscaler | None, job: TileJob) -> int:
    """How many times the host will be called for a picture; some more if joints are to be mended."""
    tiles = plan_run(size, settings, upscaler=upscaler, refiner=HostRefiner(job)).tiles
    return 1 if tiles is None else 1 + sum(math.ceil(len(wave) / job.batch_size) for wave in tiles.waves())


def _mask(p: Any, target: Size) -> NDArray[np.float32] | None:
    """The tab's inpainting mask over the canvas: 1 where to redraw; inverted and blurred as the tab says."""
    if p.image_mask is None:
        return None
    mask = processing.create_binary_mask(p.image_mask)
    if p.inpainting_mask_invert:
        mask = ImageOps.invert(mask)
    mask = mask.filter(ImageFilter.GaussianBlur(max(p.mask_blur_x, p.mask_blur_y)))
    return to_float(np.asarray(mask.resize(target, Pillow.Resampling.BILINEAR)))
