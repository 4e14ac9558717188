"""A small stand-in for a WebUI: the part of its modules that the extension uses, with the host's signatures and order.

Written from the public interface of AUTOMATIC1111 1.10.1, with which Forge agrees in all of it; `HOST_FILES` says where
each name lives, and `test_webui_server.py` compares the signatures with a real host. Its "model" is a function of the
picture and of the noise, so that what noise arrives is seen in the result; its steps end when the user interrupts.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
PACK = "tiled_diffusion_upscaler"

HOST_FILES = {
    "modules/processing.py": [
        "process_images",
        "create_infotext",
        "get_fixed_seed",
        "create_binary_mask",
        "StableDiffusionProcessing.setup_prompts",
        "StableDiffusionProcessing.save_samples",
        "StableDiffusionProcessing.comment",
        "StableDiffusionProcessingImg2Img.init",
        "StableDiffusionProcessingImg2Img.sample",
        "Processed.__init__",
    ],
    "modules/rng.py": ["ImageRNG.__init__", "ImageRNG.next"],
    "modules/shared_state.py": ["State.nextjob", "State.assign_current_image"],
    "modules/upscaler.py": ["Upscaler.upscale", "UpscalerData.__init__"],
    "modules/images.py": ["save_image"],
    "modules/devices.py": ["torch_gc"],
    "modules/scripts.py": ["Script.title", "Script.show", "Script.ui", "Script.run", "Script.elem_id"],
    "modules/scripts_postprocessing.py": [
        "ScriptPostprocessing.ui",
        "ScriptPostprocessing.process",
        "PostprocessedImage.__init__",
    ],
}


class ImageRNG:
    def __init__(self, shape, seeds, subseeds=None, subseed_strength=0.0, seed_resize_from_h=0, seed_resize_from_w=0):
        self.shape = tuple(map(int, shape))
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self):
        return torch.stack([torch.randn(self.shape, generator=generator) for generator in self.generators])


class State:
    """`shared.state`; `log` is what happened, for the tests."""

    def __init__(self) -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job, self.textinfo = "", None
        self.job_count, self.job_no = -1, 0
        self.sampling_step = self.sampling_steps = 0
        self.current_image: Any = None
        self.log: list[str] = []

    def nextjob(self):
        self.job_no += 1
        self.log.append(f"job {self.job_no} of {self.job_count}")

    def assign_current_image(self, image):
        self.current_image = image
        self.log.append("preview")


class Options:
    """`shared.opts`: `data` is what the user has set, everything else has its default."""

    defaults: ClassVar[dict[str, Any]] = {
        "samples_save": True,
        "save_incomplete_images": False,
        "samples_format": "png",
        "enable_pnginfo": True,
        "live_previews_enable": True,
        "save_init_img": False,
        "img2img_fix_steps": False,
        "show_progress_every_n_steps": 10,
        "ESRGAN_tile": 96,
    }

    def __init__(self) -> None:
        self.data: dict[str, Any] = {"img2img_color_correction": True, "CLIP_stop_at_last_layers": 1}

    def __getattr__(self, name: str) -> Any:
        return self.data[name] if name in self.data else self.defaults[name]


class Upscaler:
    """Repeats pixels, as a network of the host's would enlarge: several times if need be, then squeezed to its grid."""

    factor = 2

    def do_upscale(self, img, selected_model):
        assert min(img.size) >= sys.modules["modules.shared"].opts.ESRGAN_tile, "filled up with black"
        return img.resize((img.width * self.factor, img.height * self.factor), Image.Resampling.NEAREST)

    def upscale(self, img, scale, selected_model=None):
        width, height = int(img.width * scale) // 8 * 8, int(img.height * scale) // 8 * 8
        for _ in range(3):
            if img.width >= width and img.height >= height:
                break
            img = self.do_upscale(img, selected_model)
        return img if img.size == (width, height) else img.resize((width, height), Image.Resampling.LANCZOS)


class UpscalerData:
    def __init__(self, name, path, upscaler=None, scale=4, model=None):
        self.name, self.data_path, self.scaler, self.scale = name, path, upscaler, scale


@dataclass(repr=False)
class StableDiffusionProcessing:
    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = field(default_factory=list)
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    sampler_name: str | None = "Euler a"
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    outpath_samples: str | None = "samples"
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    override_settings: dict[str, Any] = field(default_factory=dict)
    override_settings_restore_afterwards: bool = True

    def __post_init__(self) -> None:
        self.comments: dict[str, int] = {}
        self.rng: Any = None
        self.all_prompts: list[str] | None = None
        self.sd_model_name: str | None = None

    def comment(self, text):
        self.comments[text] = 1

    def setup_prompts(self):
        self.all_prompts = self.batch_size * self.n_iter * [self.prompt]
        self.main_prompt = self.all_prompts[0]

    def save_samples(self):
        finished = not sys.modules["modules.shared"].state.interrupted
        opts = sys.modules["modules.shared"].opts
        return opts.samples_save and not self.do_not_save_samples and (opts.save_incomplete_images or finished)


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list[Any] | None = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    mask: Any = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    inpaint_full_res: bool = True
    inpainting_mask_invert: int = 0
    latent_mask: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None

    def init(self, all_prompts, all_seeds, all_subseeds):
        assert self.image_mask is None, "a mask over a tile"
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        assert self.init_images is not None
        if len(self.init_images) > self.batch_size:
            raise RuntimeError(f"bad number of images passed: {len(self.init_images)}")
        pictures = [image.resize((self.width, self.height)) for image in self.init_images]
        self.init_latent = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255

    def sample(self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts):
        """The picture, with noise of the start and of each step in cells of 8 x 8 pixels."""
        state = sys.modules["modules.shared"].state
        noise, state.sampling_steps = torch.zeros(1), self.steps
        for state.sampling_step in range(self.steps):
            if state.interrupted or state.skipped:
                return torch.zeros_like(self.init_latent)  # unfinished: what must not be seen
            noise = noise + self.rng.next()[:, :3] / self.steps
            on_step(self)
        return self.init_latent + self.denoising_strength * 0.3 * noise.repeat_interleave(8, 2).repeat_interleave(8, 3)


def on_step(p):
    """Called after each step; tests put here what the user does meanwhile."""


class Processed:
    def __init__(
        self,
        p,
        images_list,
        seed=-1,
        info="",
        subseed=None,
        all_prompts=None,
        all_negative_prompts=None,
        all_seeds=None,
        all_subseeds=None,
        index_of_first_image=0,
        infotexts=None,
        comments="",
    ):
        self.images, self.seed, self.info = images_list, seed, info
        self.index_of_first_image = index_of_first_image
        self.extra_generation_params = p.extra_generation_params
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.all_prompts = all_prompts or p.all_prompts or [p.prompt]
        self.all_seeds = all_seeds or [seed]
        self.infotexts = infotexts or [info] * len(images_list)
        self.width, self.height = p.width, p.height

    def js(self):
        return json.dumps(vars(self), default=lambda o: None)


def get_fixed_seed(seed):
    return 4242 if seed in ("", None, -1) else seed


def create_binary_mask(image, round=True):
    return image.convert("L")


def create_infotext(
    p,
    all_prompts,
    all_seeds,
    all_subseeds,
    comments=None,
    iteration=0,
    position_in_batch=0,
    use_main_prompt=False,
    index=None,
    all_negative_prompts=None,
):
    assert use_main_prompt
    params = {"Steps": p.steps, "Seed": p.all_seeds[0], "Size": f"{p.width}x{p.height}", "Model": p.sd_model_name}
    if p.subseed_strength:
        params["Variation seed"] = p.all_subseeds[0]
    values = {key: value for key, value in {**params, **p.extra_generation_params}.items() if value is not None}
    return p.main_prompt + "\n" + ", ".join(f"{key}: {_quote(value)}" for key, value in values.items())


def _quote(value):
    return json.dumps(value) if any(mark in str(value) for mark in ",:\n") else value


def process_images(p):
    """One batch after the other, with the options of `override_settings` while it runs."""
    shared = sys.modules["modules.shared"]
    state, opts = shared.state, shared.opts
    stored = {key: opts.data[key] for key in p.override_settings if key in opts.data}
    opts.data.update(p.override_settings)
    try:
        state.log.append(f"process {len(p.init_images)} at {p.denoising_strength}")
        shared.processed.append(p)
        p.sd_model_name = "model"
        p.setup_prompts()
        p.all_seeds = p.seed if isinstance(p.seed, list) else [p.seed + i for i in range(len(p.all_prompts))]
        p.all_subseeds = [p.subseed + i for i in range(len(p.all_prompts))]
        p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
        if state.job_count == -1:
            state.job_count = p.n_iter
        state.skipped = False
        if state.interrupted or state.stopping_generation:
            return Processed(p, [])
        p.rng = ImageRNG((4, p.height // 8, p.width // 8), p.all_seeds)
        samples = p.sample(None, None, p.all_seeds, p.all_subseeds, p.subseed_strength, p.all_prompts)
        state.nextjob()
        pixels = (255.0 * samples.clamp(0, 1)).permute(0, 2, 3, 1).numpy().astype(np.uint8)
        if opts.img2img_color_correction:
            pixels = pixels // 2  # what must not happen to a tile
        return Processed(p, [Image.fromarray(image) for image in pixels], p.all_seeds[0])
    finally:
        opts.data.update(stored)


class Script:
    filename = None
    is_img2img = True
    infotext_fields = None
    paste_field_names = None

    def title(self):
        raise NotImplementedError

    def show(self, is_img2img):
        return True

    def ui(self, is_img2img):
        pass

    def run(self, p, *args):
        pass

    def elem_id(self, item_id):
        return f"script_{self.title().lower().replace(' ', '_')}_{item_id}"


class PostprocessedImage:
    def __init__(self, image):
        self.image = image
        self.info: dict[str, Any] = {}


class ScriptPostprocessing:
    order = 1000
    name = None

    def ui(self):
        pass

    def process(self, pp, **args):
        pass


def save_image(
    image,
    path,
    basename,
    seed=None,
    prompt=None,
    extension="png",
    info=None,
    short_filename=False,
    no_prompt=False,
    grid=False,
    pnginfo_section_name="parameters",
    p=None,
    existing_info=None,
    forced_filename=None,
    suffix="",
    save_to_dirs=None,
):
    sys.modules["modules.shared"].saved.append((image, seed, prompt, extension, info))


def torch_gc():
    """`devices.torch_gc`."""


class NansException(Exception):
    """`devices.NansException`."""


def restart(shared):
    """Everything that a job changes, as before the first."""
    shared.state, shared.opts = State(), Options()
    shared.processed, shared.saved = [], []


@cache
def host() -> types.SimpleNamespace:
    """The fake host and the extension in it: `shared`, `processing`, `form`, `networks`, `tiles`, `script`, `extras`.

    The extension is loaded from the checkout, under the name of the package that carries it in a host.
    """
    here = sys.modules[__name__]
    upscalers = [UpscalerData("None", None, Upscaler()), UpscalerData("Double", "double.pth", Upscaler(), scale=2)]
    shared = _module("shared", device=torch.device("cpu"), sd_upscalers=upscalers)
    restart(shared)
    processing = _module("processing", **{name: getattr(here, name) for name in _PROCESSING})
    _module("devices", device=torch.device("cpu"), torch_gc=torch_gc, NansException=NansException)
    _module("images", save_image=save_image)
    _module("scripts", Script=Script)
    _module("scripts_postprocessing", ScriptPostprocessing=ScriptPostprocessing)
    pack = sys.modules[PACK] = types.ModuleType(PACK)
    pack.__path__ = [str(ROOT)]
    loaded = {name: importlib.import_module(f"{PACK}.ui.upscaler_ui.webui.{name}") for name in _EXTENSION}
    return types.SimpleNamespace(shared=shared, processing=processing, **loaded)


def refiner() -> Any:
    """The extension's `Refiner` over a job of three steps."""
    tiles = host().tiles
    restart(host().shared)
    return tiles.HostRefiner(tiles.TileJob.of(StableDiffusionProcessingImg2Img(steps=3, batch_size=4)))


def upscaler(name: str, scale: int = 2) -> Any:
    """The extension's `Upscaler` of that name, by which the host says that it enlarges so many times."""
    restart(host().shared)
    (data,) = (data for data in host().shared.sd_upscalers if data.name == "Double")
    data.scale = scale
    return host().networks.load(name)


_EXTENSION = ("form", "networks", "tiles", "script", "extras")
_PROCESSING = (
    "StableDiffusionProcessingImg2Img",
    "Processed",
    "process_images",
    "get_fixed_seed",
    "create_binary_mask",
    "create_infotext",
)


def _module(name: str, **content: Any) -> Any:
    """A module of the host with that content."""
    modules = sys.modules.setdefault("modules", types.ModuleType("modules"))
    module = sys.modules[f"modules.{name}"] = types.ModuleType(f"modules.{name}")
    vars(module).update(content)
    setattr(modules, name, module)
    return module
