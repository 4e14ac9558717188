"""Diffusers folders rewritten as single files with the names of the original code; the inverse of what the loader does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

State = dict[str, torch.Tensor]

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_TEXTS = {
    "sd1": {"text_encoder": "cond_stage_model.transformer."},
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    "refiner": {"text_encoder_2": "conditioner.embedders.0.model."},
}


def single_file(folder: Path, file: Path, family: str, *, leave_out: str = "", **tensors: torch.Tensor) -> Path:
    """The model in a diffusers folder as one safetensors file.

    Args:
        leave_out: tensors whose names begin with this are left out.
        tensors: more of them.
    """
    state = single_state(folder, family) | tensors
    save_file(
        {name: value.contiguous() for name, value in state.items() if not (leave_out and name.startswith(leave_out))},
        file,
    )
    return file


def single_state(folder: Path, family: str) -> State:
    unet_config = json.loads((folder / "unet" / "config.json").read_text())
    unet = _renamed(_load(folder / "unet"), _unet_table(unet_config))
    state = {f"model.diffusion_model.{name}": value for name, value in unet.items()}
    vae_config = json.loads((folder / "vae" / "config.json").read_text())
    vae = _load(folder / "vae")
    vae = (
        _tiny(vae)
        if vae_config["_class_name"] == "AutoencoderTiny"
        else kl_names(vae, len(vae_config["block_out_channels"]))
    )
    state |= {f"first_stage_model.{name}": value for name, value in vae.items()}
    for part, prefix in _TEXTS[family].items():
        text = _load(folder / part)
        text = _open_clip(text) if prefix.endswith(".model.") else _wrapped(text)
        state |= {f"{prefix}{name}": value for name, value in text.items()}
    return state


def control_state(folder: Path) -> State:
    """A ControlNet in a diffusers folder under the original names."""
    config = json.loads((folder / "config.json").read_text())
    table = {
        ours: theirs
        for ours, theirs in _unet_table({**config, "up_block_types": []}).items()
        if "out" not in theirs[:3]
    }
    table["controlnet_cond_embedding.conv_in"] = "input_hint_block.0"
    for index in range(6):
        table[f"controlnet_cond_embedding.blocks.{index}"] = f"input_hint_block.{2 * index + 2}"
    table["controlnet_cond_embedding.conv_out"] = "input_hint_block.14"
    table["controlnet_mid_block"] = "middle_block_out.0"
    table |= {f"controlnet_down_blocks.{index}": f"zero_convs.{index}.0" for index in range(12)}
    return {f"control_model.{name}": value for name, value in _renamed(_load(folder), table).items()}


def _load(folder: Path) -> State:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def _unet_table(config: Mapping[str, Any]) -> dict[str, str]:
    """Modules of a UNet: diffusers' names and the original ones."""
    table = {
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
        "mid_block.attentions.0": "middle_block.1",
    }  # fmt: skip

    def resnet(ours: str, theirs: str) -> None:
        table.update({f"{ours}.{a}": f"{theirs}.{b}" for a, b in _RESNET.items()})

    each, levels, slot = config["layers_per_block"], len(config["block_out_channels"]), 1
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(each):
            resnet(f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{slot}.0")
            if "CrossAttn" in kind:
                table[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{slot}.1"
            slot += 1
        if level < levels - 1:
            table[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{slot}.0.op"
            slot += 1
    resnet("mid_block.resnets.0", "middle_block.0")
    resnet("mid_block.resnets.1", "middle_block.2")
    slot = 0
    for level, kind in enumerate(config["up_block_types"]):
        for layer in range(each + 1):
            resnet(f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{slot}.0")
            if "CrossAttn" in kind:
                table[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{slot}.1"
            if layer == each and level < levels - 1:
                table[f"up_blocks.{level}.upsamplers.0.conv"] = (
                    f"output_blocks.{slot}.{2 if 'CrossAttn' in kind else 1}.conv"
                )
            slot += 1
    return table


def _renamed(state: State, table: Mapping[str, str]) -> State:
    prefixes = sorted(table, key=len, reverse=True)
    renamed: State = {}
    for name, value in state.items():
        prefix = next(prefix for prefix in prefixes if name.startswith(f"{prefix}."))
        renamed[table[prefix] + name[len(prefix) :]] = value
    assert len(renamed) == len(state)
    return renamed


def kl_names(state: State, levels: int) -> State:
    """An `AutoencoderKL` under the original names, where the attention is made of convolutions of one pixel."""
    renamed: State = {}
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
    for name, value in state.items():
        side, _, rest = name.partition(".")
        words = rest.split(".")
        kind = words[-1]
        if words[0] in ("down_blocks", "up_blocks"):
            level = int(words[1])
            at, word = (level, "down") if words[0] == "down_blocks" else (levels - 1 - level, "up")
            leaf = f"block.{words[3]}.{'nin_shortcut' if words[4] == 'conv_shortcut' else words[4]}"
            rest = f"{word}.{at}.{leaf if words[2] == 'resnets' else f'{word}sample.conv'}.{kind}"
        elif words[0] == "mid_block" and words[1] == "resnets":
            rest = f"mid.block_{int(words[2]) + 1}.{words[3]}.{kind}"
        elif words[0] == "mid_block":
            rest = f"mid.attn_1.{attention[words[3]]}.{kind}"
            value = value[:, :, None, None] if words[3] != "group_norm" and kind == "weight" else value
        elif words[0] == "conv_norm_out":
            rest = f"norm_out.{kind}"
        renamed[f"{side}.{rest}"] = value
    return renamed


def _tiny(state: State) -> State:
    renamed: State = {"vae_scale": torch.tensor(0.18215)}
    for name, value in state.items():
        side, _, number, rest = name.split(".", 3)
        renamed[f"taesd_{side}.{int(number) + (side == 'decoder')}.{rest}"] = value
    return renamed


def _wrapped(state: State) -> State:
    return {f"text_model.{name.removeprefix('text_model.')}": value for name, value in state.items()}


def _open_clip(state: State) -> State:
    """A text encoder under OpenCLIP's names, with the last block that Stable Diffusion 2 leaves out."""
    outside = {
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
    }
    inside = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    inside |= {"self_attn.out_proj": "attn.out_proj"}
    renamed: State = {"logit_scale": torch.tensor(4.6)}
    state = {name.removeprefix("text_model."): value for name, value in state.items()}
    for name, value in state.items():
        if name == "text_projection.weight":
            renamed["text_projection"] = value.T
        elif name in outside:
            renamed[outside[name]] = value
        else:
            _, _, number, rest = name.split(".", 3)
            module, _, kind = rest.rpartition(".")
            block = f"transformer.resblocks.{number}"
            if module in inside:
                renamed[f"{block}.{inside[module]}.{kind}"] = value
            elif module == "self_attn.q_proj":
                parts = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
                renamed[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
    return renamed
