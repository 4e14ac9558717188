"""A small stand-in for ComfyUI: the part of its modules that the nodes use, with the host's signatures and order.

Written from the public interface of ComfyUI 0.3.64; `HOST_FILES` says where each name lives, and the tests against the
real host compare the signatures. Its "model" is a small function of the latents, the level of noise and the conditioning, so that each of them is seen in the result.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
PACK = "comfyui_pack_under_test"


class InterruptProcessingException(Exception):
    """The host's, which is neither a RuntimeError nor one of ours."""


class Management(types.ModuleType):
    """`comfy.model_management`."""

    InterruptProcessingException = InterruptProcessingException

    def __init__(self) -> None:
        super().__init__("comfy.model_management")
        self.interrupted = False

    def interrupt_current_processing(self, value=True):
        self.interrupted = value

    def throw_exception_if_processing_interrupted(self):
        if self.interrupted:
            self.interrupted = False
            raise InterruptProcessingException

    def get_torch_device(self):
        return torch.device("cpu")

    def free_memory(self, memory_required, device, keep_loaded=()):
        return []

    def get_free_memory(self, dev=None, torch_free_too=False):
        return 2**33

    def get_total_memory(self, dev=None, torch_total_too=False):
        return 2**33

    def load_models_gpu(
        self, models, memory_required=0, force_patch_weights=False, minimum_memory_required=None, force_full_load=False
    ):
        self.loaded = models


# comfy/k_diffusion/sampling.py ------------------------------------------------------------------------------------------


def sample_euler(
    model,
    x,
    sigmas,
    extra_args: Any = None,
    callback: Any = None,
    disable=None,
    s_churn=0.0,
    s_tmin=0.0,
    s_tmax=float("inf"),
    s_noise=1.0,
):
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i], **extra_args)
        callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    return x


def sample_euler_ancestral(
    model,
    x,
    sigmas,
    extra_args: Any = None,
    callback: Any = None,
    disable=None,
    eta=1.0,
    s_noise=1.0,
    noise_sampler: Any = None,
):
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i], **extra_args)
        up = min(sigmas[i + 1], (sigmas[i + 1] ** 2 * (sigmas[i] ** 2 - sigmas[i + 1] ** 2) / sigmas[i] ** 2) ** 0.5)
        down = (sigmas[i + 1] ** 2 - up**2) ** 0.5
        callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = x + (x - denoised) / sigmas[i] * (down - sigmas[i])
        if sigmas[i + 1] > 0:
            x = x + noise_sampler(sigmas[i], sigmas[i + 1]) * up
    return x


class KSAMPLER:
    """comfy/samplers.py"""

    def __init__(self, sampler_function, extra_options={}, inpaint_options={}):  # noqa: B006
        self.sampler_function = sampler_function
        self.extra_options = extra_options
        self.inpaint_options = inpaint_options

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        def inner(x, sigma, **more):
            if denoise_mask is not None:
                x = x * denoise_mask + (latent_image + noise * sigma) * (1 - denoise_mask)
            denoised = model_wrap(x, sigma)
            return denoised if denoise_mask is None else denoised * denoise_mask + latent_image * (1 - denoise_mask)

        def told(state):
            callback(state["i"], state["denoised"], state["x"], len(sigmas) - 1)

        start = latent_image + noise * sigmas[0]
        return self.sampler_function(inner, start, sigmas, extra_args={}, callback=told, **self.extra_options)


def sampler_object(name):
    return KSAMPLER({"euler": sample_euler, "euler_ancestral": sample_euler_ancestral}[name])


class KSampler:
    """comfy/samplers.py"""

    SCHEDULERS = ("simple", "normal")
    SAMPLERS = ("euler", "euler_ancestral", "ddim")

    def __init__(self, model, steps, device, sampler=None, scheduler=None, denoise: Any = None, model_options={}):  # noqa: B006
        self.sigmas = torch.linspace(4 * denoise, 0, steps + 1)


def sample_custom(
    model,
    noise,
    cfg,
    sampler,
    sigmas,
    positive,
    negative,
    latent_image,
    noise_mask=None,
    callback=None,
    disable_pbar=False,
    seed=None,
):
    """comfy/sample.py"""
    assert torch.is_inference_mode_enabled()
    assert noise.shape == latent_image.shape

    def predict(x, sigma):
        sides = [model.predict(x, sigma, side) for side in (positive, negative)]
        return sides[1] + cfg * (sides[0] - sides[1])

    model.calls.append((positive, negative, noise_mask))
    return sampler.sample(predict, sigmas, {"seed": seed}, callback, noise, latent_image, noise_mask, disable_pbar)


class Model:
    """comfy/model_patcher.py: `ModelPatcher`."""

    def __init__(self, patch_size: Any = None, context: int | None = 768) -> None:
        self.load_device = torch.device("cpu")
        self.model_options: dict[str, Any] = {}
        torch.manual_seed(3)
        network = torch.nn.Conv2d(4, 4, 3, padding=1, bias=False)
        if patch_size is not None:
            network.patch_size = patch_size
        self._objects: dict[str, Any] = {
            "diffusion_model": network,
            "latent_format": SimpleNamespace(latent_channels=4),
        }
        self.model = SimpleNamespace(model_config=SimpleNamespace(unet_config={"context_dim": context}))
        self.calls: list[Any] = []
        self.fails_above: int | None = None

    def get_model_object(self, name):
        return self._objects[name]

    def memory_required(self, input_shape):
        return 2**20

    def model_size(self):
        return 2**20

    def predict(self, x: torch.Tensor, sigma: torch.Tensor, side: list[Any]) -> torch.Tensor:
        if self.fails_above is not None and len(x) > self.fails_above:
            raise torch.cuda.OutOfMemoryError("out of memory")
        clean = x - sigma * torch.tanh(self._objects["diffusion_model"](x))
        out, weights = torch.zeros_like(x), torch.full_like(x, 1e-37)
        for embedding, options in side:
            share = torch.full_like(x, options.get("strength", 1.0))
            if "mask" in options:
                share = share * options["mask"][:, None]
            if "area" in options:
                height, width, top, left = options["area"]
                inside = torch.zeros_like(x)
                inside[..., top : top + height, left : left + width] = 1
                share = share * inside
            part = clean + 0.05 * embedding.mean()
            if "control" in options:
                hint = torch.nn.functional.avg_pool2d(options["control"].cond_hint_original, 8)
                part = part + 0.1 * hint.mean(1, keepdim=True)
            out, weights = out + part * share, weights + share
        return out / weights


class VAE:
    """comfy/sd.py"""

    first_stage_model = torch.nn.Identity()

    def spacial_compression_encode(self):
        return 8

    def encode(self, pixel_samples):
        small = torch.nn.functional.avg_pool2d(pixel_samples.movedim(-1, 1) * 2 - 1, 8)
        return torch.cat([small, small.mean(1, keepdim=True)], dim=1)

    def decode(self, samples_in, vae_options={}):  # noqa: B006
        large = torch.nn.functional.interpolate(samples_in[:, :3], scale_factor=8)
        return (large / 2 + 0.5).clamp(0, 1).movedim(1, -1)


class ControlBase:
    """comfy/controlnet.py"""

    def __init__(self) -> None:
        self.cond_hint_original: Any = None
        self.strength = 1.0
        self.timestep_percent_range = (0.0, 1.0)
        self.previous_controlnet: ControlBase | None = None
        self.extra_concat_orig: list[torch.Tensor] = []

    def set_cond_hint(self, cond_hint, strength=1.0, timestep_percent_range=(0.0, 1.0), vae=None, extra_concat=[]):  # noqa: B006
        self.cond_hint_original, self.strength = cond_hint, strength
        return self

    def set_previous_controlnet(self, controlnet):
        self.previous_controlnet = controlnet
        return self

    def copy_to(self, c):
        c.cond_hint_original, c.strength = self.cond_hint_original, self.strength
        c.extra_concat_orig = self.extra_concat_orig.copy()

    def copy(self):
        c = ControlBase()
        self.copy_to(c)
        return c


class ProgressBar:
    """comfy/utils.py; the host's hook raises when the user has interrupted. `shown` is for the tests."""

    shown: list[tuple[int, int | None, Any]] = []  # noqa: RUF012
    on_update: Any = staticmethod(lambda: None)

    def __init__(self, total, node_id=None):
        type(self).shown = []

    def update_absolute(self, value, total=None, preview=None):
        self.shown.append((value, total, preview))
        type(self).on_update()


HOST_FILES: dict[str, dict[str, Any]] = {
    "comfy/sample.py": {"sample_custom": sample_custom},
    "comfy/samplers.py": {
        "sampler_object": sampler_object,
        "KSAMPLER.__init__": KSAMPLER.__init__,
        "KSAMPLER.sample": KSAMPLER.sample,
        "KSampler.__init__": KSampler.__init__,
    },
    "comfy/k_diffusion/sampling.py": {
        "sample_euler": sample_euler,
        "sample_euler_ancestral": sample_euler_ancestral,
    },
    "comfy/model_management.py": {
        name: getattr(Management, name)
        for name in (
            "interrupt_current_processing",
            "throw_exception_if_processing_interrupted",
            "get_torch_device",
            "free_memory",
            "get_free_memory",
            "get_total_memory",
            "load_models_gpu",
        )
    },
    "comfy/model_patcher.py": {
        "ModelPatcher.get_model_object": Model.get_model_object,
        "ModelPatcher.memory_required": Model.memory_required,
        "ModelPatcher.model_size": Model.model_size,
    },
    "comfy/sd.py": {
        "VAE.encode": VAE.encode,
        "VAE.decode": VAE.decode,
        "VAE.spacial_compression_encode": VAE.spacial_compression_encode,
    },
    "comfy/controlnet.py": {
        "ControlBase.set_cond_hint": ControlBase.set_cond_hint,
        "ControlBase.set_previous_controlnet": ControlBase.set_previous_controlnet,
        "ControlBase.copy_to": ControlBase.copy_to,
        "ControlNet.copy": ControlBase.copy,
    },
    "comfy/utils.py": {
        "ProgressBar.__init__": ProgressBar.__init__,
        "ProgressBar.update_absolute": ProgressBar.update_absolute,
    },
}


# comfy_api/latest -------------------------------------------------------------------------------------------------------


class Input:
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, **more):
        self.id, self.optional, self.more = id, optional, more

    def as_dict(self):
        return self.more


class Output:
    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
        self.display_name = display_name


def _io() -> types.ModuleType:
    module = types.ModuleType("comfy_api.latest._io")
    kinds = "Image Mask Model Conditioning Vae UpscaleModel Sampler Sigmas Int Float Boolean String Combo"
    for kind in kinds.split():
        setattr(module, kind, SimpleNamespace(Input=type(kind, (Input,), {}), Output=type(kind, (Output,), {})))
    module.Input = Input  # type: ignore[attr-defined]
    module.Schema = lambda **fields: SimpleNamespace(**fields)  # type: ignore[attr-defined]
    module.ComfyNode = type("ComfyNode", (), {})  # type: ignore[attr-defined]
    module.NodeOutput = lambda *args, ui=None: SimpleNamespace(args=args, ui=ui)  # type: ignore[attr-defined]
    return module


@cache
def pack() -> types.ModuleType:
    """The checkout as the host loads it, over this stand-in; `pack().ui.upscaler_ui.comfyui.nodes` and so on."""
    modules = {
        "comfy": types.ModuleType("comfy"),
        "comfy.model_management": Management(),
        "comfy.sample": types.ModuleType("comfy.sample"),
        "comfy.samplers": types.ModuleType("comfy.samplers"),
        "comfy.utils": types.ModuleType("comfy.utils"),
        "comfy_api": types.ModuleType("comfy_api"),
        "comfy_api.latest": types.ModuleType("comfy_api.latest"),
    }
    for name, module in modules.items():
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(modules[parent], leaf, module)
    modules["comfy.sample"].__dict__.update(
        sample_custom=sample_custom, fix_empty_latent_channels=lambda model, latent_image: latent_image
    )
    modules["comfy.samplers"].__dict__.update(KSAMPLER=KSAMPLER, KSampler=KSampler, sampler_object=sampler_object)
    modules["comfy.utils"].__dict__.update(ProgressBar=ProgressBar)
    ui = SimpleNamespace(PreviewImage=lambda image, cls=None: image, PreviewText=lambda value: value)
    modules["comfy_api.latest"].__dict__.update(io=_io(), ui=ui, ComfyExtension=type("ComfyExtension", (), {}))
    known = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        spec = importlib.util.spec_from_file_location(
            PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[PACK] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACK])
        importlib.import_module(f"{PACK}.ui.upscaler_ui.comfyui")
    finally:
        for name, module in known.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return sys.modules[PACK]


def part(name: str) -> Any:
    """A module of the pack: `part("refiner")`; of its engine: `part("....upscaler.errors")`."""
    pack()
    return importlib.import_module("." + name if not name.startswith(".") else name, f"{PACK}.ui.upscaler_ui.comfyui")


def management() -> Management:
    return part("refiner").model_management


def refiner(model: Model | None = None, *, sampler: str = "euler", ring: int = 0, **options: Any) -> Any:
    """A refiner of the pack over a canvas of 1000x600."""
    module, size = part("refiner"), part("....upscaler.geometry").Size
    positive, negative = [[[torch.ones(1, 4, 8) * value, {}]] for value in (0.5, -0.5)]
    names = {"positive": positive, "negative": negative, "vae": VAE(), "cfg": 2.0, "sampler_name": sampler}
    inputs = module.Inputs(model=model or Model(), **{"scheduler": "simple", **names, **options.pop("inputs", {})})
    return module.HostRefiner(inputs, source=size(500, 300), canvas=size(1000, 600), ring=ring, **options)
