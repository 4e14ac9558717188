"""Run by ComfyUI's own Python, in its folder: tiny random models of each family through the nodes, in the host's classes.

Prints one JSON object: for each case the shape, and the largest difference between tiles one by one and five at once.
"""

# ruff: noqa: E402

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, "")
sys.argv = ["main.py", "--cpu", "--use-pytorch-cross-attention"]
import comfy.options

comfy.options.enable_args_parsing()
import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_patcher
import comfy.ops
import comfy.samplers
import comfy.sd
import comfy.supported_models as families
import comfy.taesd.taesd
import spandrel
import torch
from safetensors.torch import load_file

CPU = torch.device("cpu")
spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
assert spec is not None
assert spec.loader is not None
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
nodes = importlib.import_module("pack.ui.upscaler_ui.comfyui.nodes")
gan = importlib.import_module("pack.ui.upscaler_ui.comfyui.gan")
sampling = importlib.import_module("pack.ui.upscaler_ui.comfyui.sampling")

UNET = {
    "image_size": 32, "in_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1], "channel_mult": [1, 2],
    "transformer_depth": [1, 0], "transformer_depth_middle": 1, "num_heads": -1, "num_head_channels": 16,
    "context_dim": 2048, "use_spatial_transformer": True, "use_linear_in_transformer": True, "adm_in_channels": 2816,
    "num_classes": "sequential", "legacy": False,
}  # fmt: skip
SDXL = {**UNET, "out_channels": 4, "transformer_depth_output": [1, 1, 0, 0], "use_temporal_attention": False}
SD3 = {
    "input_size": None, "in_channels": 16, "out_channels": 16, "patch_size": 2, "depth": 2, "num_patches": 36864,
    "adm_in_channels": 2048, "pos_embed_max_size": 192, "pos_embed_scaling_factor": None, "qk_norm": None,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}},
}  # fmt: skip
FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 32, "context_in_dim": 64,
    "hidden_size": 128, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [16, 24, 24], "theta": 10000, "patch_size": 2, "qkv_bias": True, "guidance_embed": False,
}  # fmt: skip


class BlockVAE:
    """Averages and repeats blocks of 8x8 pixels."""

    first_stage_model = torch.nn.Identity()

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def spacial_compression_encode(self) -> int:
        return 8

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1) * 2 - 1, 8)
        return small.repeat(1, self.channels // 3 + 1, 1, 1)[:, : self.channels]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.interpolate(latents[:, :3].float(), scale_factor=8) / 2 + 0.5).movedim(1, -1)


def model_of(family: Any, config: dict[str, Any]) -> Any:
    config = {**config, "dtype": torch.float32}
    described = family(config)
    described.unet_config, described.manual_cast_dtype = config, None
    described.custom_operations = comfy.ops.disable_weight_init
    model = described.get_model({}, "", device=CPU)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    return comfy.model_patcher.ModelPatcher(model, load_device=CPU, offload_device=CPU)


def taesd() -> Any:
    """The host's tiny autoencoder."""
    with torch.no_grad():
        state = {
            name: torch.full_like(value, 0.18215) if name == "vae_scale" else torch.randn_like(value) * 0.05
            for name, value in comfy.taesd.taesd.TAESD().state_dict().items()
        }
    return comfy.sd.VAE(sd=state, device=CPU)


def lies_last(tensor: torch.Tensor) -> bool:
    """Whether its channels lie last in memory."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def decode_in_order(**given: Any) -> dict[str, Any]:
    """Whether latents to decode lie with channels last, and what that changes in the picture."""
    vae, orders = taesd(), list[bool]()
    decode = vae.decode

    def watched(latents: torch.Tensor) -> torch.Tensor:
        orders.append(lies_last(latents))
        return decode(latents)

    def plain(latents: torch.Tensor) -> torch.Tensor:
        return decode(latents.contiguous())

    vae.decode = watched
    ours = run(**given, vae=vae)
    vae.decode = plain
    return {"last": all(orders), "difference": float((ours - run(**given, vae=vae)).abs().max())}


def enlarge_in_order() -> dict[str, Any]:
    """The same of the host's UPSCALE_MODEL, and whether it is as it was afterwards."""
    state = {
        name: value.float() for name, value in load_file(ROOT / "weights/realesr-animevideov3.safetensors").items()
    }
    network: Any = spandrel.ModelLoader().load_from_state_dict(state)
    orders: list[bool] = []

    def watch(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        orders.append(lies_last(inputs[0]))

    network.model.body[0].register_forward_pre_hook(watch)
    ours = torch.from_numpy(gan.connected(network)(IMAGE[0].numpy()))
    with torch.inference_mode():
        plain = network(IMAGE.movedim(-1, 1).contiguous())[0].movedim(0, -1)
    kept = all(
        torch.equal(value, state[name]) and value.is_contiguous() for name, value in network.model.state_dict().items()
    )
    return {"last": orders == [True, False], "difference": float((ours - plain).abs().max()), "kept": kept}


def prompt(length: int, channels: int, pooled: int, **options: Any) -> list[Any]:
    return [torch.randn(1, length, channels), {"pooled_output": torch.randn(1, pooled), **options}]


def controlnet() -> Any:
    network = comfy.cldm.cldm.ControlNet(
        hint_channels=3, dtype=torch.float32, operations=comfy.ops.disable_weight_init, **UNET
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return comfy.controlnet.ControlNet(network.eval(), load_device=CPU).set_cond_hint(torch.rand(1, 3, 256, 320), 1.0)


def run(**given: Any) -> torch.Tensor:
    settings = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 0.5}
    settings |= {"tile_width": 64, "tile_height": 64, "tile_padding": 8, "mask_blur": 2, "seam_fix_mode": "None"}
    with torch.inference_mode():
        return nodes.Refine.execute(upscaled_image=IMAGE, **{**settings, **given}).args[0]


def main() -> None:
    report: dict[str, Any] = {}

    def case(name: str, **given: Any) -> torch.Tensor:
        alone, together = run(batch_size=1, **given), run(batch_size=5, **given)
        report[name] = [*alone.shape, float((alone - together).abs().max()), float((alone - IMAGE).abs().mean())]
        return alone

    ids = {"width": 4096, "height": 4096, "target_width": 4096, "target_height": 4096}
    positive, negative = prompt(77, 2048, 1280, **ids), prompt(77, 2048, 1280)
    sdxl = {"model": model_of(families.SDXL, SDXL), "vae": BlockVAE(4), "positive": [positive], "negative": [negative]}
    plain = case("sdxl", **sdxl)
    report["decode"] = decode_in_order(**{name: value for name, value in sdxl.items() if name != "vae"})
    report["enlarge"] = enlarge_in_order()
    net = controlnet()
    guided = [[entry[0], {**entry[1], "control": net}] for entry in (positive, negative)]
    controlled = case("controlnet", **{**sdxl, "positive": guided[:1], "negative": guided[1:]})
    report["controlnet changes"] = float((controlled - plain).abs().mean())
    mask = torch.zeros(1, 64, 80)
    mask[:, :, :40] = 1
    parts: list[dict[str, Any]] = [
        {"mask": mask, "set_area_to_bounds": True},
        {"area": ("percentage", 0.5, 0.5, 0.25, 0.25)},
        {"area": (6, 8, 2, 4), "strength": 0.6},
    ]
    regions = [[torch.randn(1, 77, 2048), {**positive[1], **part}] for part in parts]
    case("areas and masks", **{**sdxl, "positive": [*regions, positive]})
    case("mask and fixed padding", mask=mask, fixed_padding=True, **{**sdxl, "sampler_name": "ddim"})
    for name in comfy.samplers.KSampler.SAMPLERS:
        case(f"sampler {name}", **sdxl, sampler_name=name, steps=3)
    latents = {"reference_latents": [torch.randn(1, 16, 16, 20)], "guidance": 3.5}
    flux = {"model": model_of(families.Flux, FLUX), "vae": BlockVAE(16), "tile_width": 72, "tile_height": 72}
    case("flux", **flux, positive=[prompt(20, 64, 32, **latents)], negative=[prompt(20, 64, 32)])
    sd3 = {"model": model_of(families.SD3, SD3), "vae": BlockVAE(16)}
    case("sd3", **sd3, positive=[prompt(20, 4096, 2048)], negative=[prompt(20, 4096, 2048)])
    report["native tiles"] = [sampling.native_tile(kind["model"]) for kind in (sdxl, flux, sd3)]
    print(json.dumps(report))  # noqa: T201


torch.manual_seed(0)
LARGE = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 20), scale_factor=8, mode="bicubic")
IMAGE = LARGE.clamp(0, 1).movedim(1, -1)
main()
