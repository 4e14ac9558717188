"""One small SD 1.5 with random weights in two formats: a diffusers folder, and a single file as ComfyUI loads it.

The shape is what ComfyUI tells SD 1.5 by: 320 channels, a context of 768, the text encoder of CLIP-L. The autoencoder is
a tiny one whose round trip gives a blocky picture back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

ROOT = Path(__file__).parents[2]

State = dict[str, torch.Tensor]


def make_models(folder: Path, program: Path) -> None:
    """Fill a folder of models as ComfyUI has it, and `diffusers/` in it with the same checkpoint in the other format.

    Args:
        program: ComfyUI's checkout.
    """
    (folder / "checkpoints").mkdir()
    (folder / "upscale_models").mkdir()
    make(folder / "diffusers", folder / "checkpoints" / "random.safetensors", program / "comfy" / "sd1_tokenizer")
    weights = load_file(ROOT / "weights" / "realesr-animevideov3.safetensors")
    torch.save({name: value.float() for name, value in weights.items()}, folder / "upscale_models" / "compact.pth")


def make(folder: Path, file: Path, tokenizer: Path) -> None:
    """Write both.

    Args:
        tokenizer: a folder with CLIP's vocab.json and merges.txt; ComfyUI brings one.
    """
    torch.manual_seed(1234)
    unet, vae, text = _unet().half(), _vae().half(), _text().half()
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    words = CLIPTokenizer(
        vocab=str(tokenizer / "vocab.json"), merges=str(tokenizer / "merges.txt"), model_max_length=77
    )
    parts: dict[str, Any] = {"unet": unet, "vae": vae, "text_encoder": text, "scheduler": scheduler, "tokenizer": words}
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        index[name] = ["transformers" if "t" in name[:1] else "diffusers", type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    state = {f"model.diffusion_model.{name}": value for name, value in _renamed(unet.state_dict()).items()}
    state |= {f"first_stage_model.{name}": value for name, value in _taesd(vae.state_dict()).items()}
    for name, value in text.state_dict().items():
        state[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    save_file({name: value.contiguous() for name, value in state.items() if "position_ids" not in name}, file)


def _unet() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(320,), layers_per_block=1, cross_attention_dim=768, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
    )  # fmt: skip
    last: Any = unet.conv_out
    with torch.no_grad():
        last.weight.mul_(0.5)
        last.bias.zero_()
    return unet


def _vae() -> AutoencoderTiny:
    """Random weights are small beside a path that averages 8x8 pixels into three channels, and repeats them."""
    vae = AutoencoderTiny(scaling_factor=1.0)
    with torch.no_grad():
        for part in (vae.encoder, vae.decoder):
            for module in part.modules():
                if isinstance(module, torch.nn.Conv2d):
                    module.weight.mul_(0.02)
                    if module.bias is not None:
                        module.bias.mul_(0.02)
            for module in part.layers:
                if isinstance(module, torch.nn.Conv2d):
                    rows = slice(1, 3) if module.stride[0] == 2 else slice(1, 2)
                    share = 0.25 if module.stride[0] == 2 else 1.0
                    for channel in range(3):
                        module.weight[channel, channel, rows, rows] += share
    return vae


def _text() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            projection_dim=768, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407, pad_token_id=1,
        )
    )  # fmt: skip


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def _renamed(state: State) -> State:
    """diffusers' names of a UNet of one level as the original ones."""
    table = {
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
        "down_blocks.0.attentions.0": "input_blocks.1.1", "mid_block.attentions.0": "middle_block.1",
        "up_blocks.0.attentions.0": "output_blocks.0.1", "up_blocks.0.attentions.1": "output_blocks.1.1",
    }  # fmt: skip
    blocks = {"down_blocks.0.resnets.0": "input_blocks.1.0", "mid_block.resnets.0": "middle_block.0"}
    blocks |= {"mid_block.resnets.1": "middle_block.2", "up_blocks.0.resnets.0": "output_blocks.0.0"}
    blocks |= {"up_blocks.0.resnets.1": "output_blocks.1.0"}
    for source, target in blocks.items():
        table |= {f"{source}.{old}": f"{target}.{new}" for old, new in _RESNET.items()}
    renamed: State = {}
    for name, value in state.items():
        prefix = next(prefix for prefix in sorted(table, key=len, reverse=True) if name.startswith(prefix + "."))
        renamed[table[prefix] + name[len(prefix) :]] = value
    assert len(renamed) == len(state)
    return renamed


def _taesd(state: State) -> State:
    """AutoencoderTiny's names as TAESD's lists count: the decoder's begins with its clamp."""
    renamed: State = {"vae_scale": torch.tensor(0.18215), "vae_shift": torch.tensor(0.0)}
    for name, value in state.items():
        side, _, number, rest = name.split(".", 3)
        renamed[f"taesd_{side}.{int(number) + (side == 'decoder')}.{rest}"] = value
    return renamed
