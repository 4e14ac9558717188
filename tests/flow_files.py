"""Transformers of Flux and Stable Diffusion 3 in diffusers folders rewritten as files with the names of the original code:
safetensors or GGUF; the inverse of what the loader does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

State = dict[str, torch.Tensor]

_OUTSIDE = {
    "flux": {
        "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
        "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
        "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
        "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
        "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
        "context_embedder": "txt_in",
        "x_embedder": "img_in",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
        "proj_out": "final_layer.linear",
    },
    "sd3": {
        "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
        "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
        "context_embedder": "context_embedder",
        "pos_embed.proj": "x_embedder.proj",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
        "proj_out": "final_layer.linear",
    },
}
_FLUX_BLOCK = {
    "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin",
    "attn.to_q": "img_attn.qkv", "attn.to_k": "img_attn.qkv", "attn.to_v": "img_attn.qkv",
    "attn.add_q_proj": "txt_attn.qkv", "attn.add_k_proj": "txt_attn.qkv", "attn.add_v_proj": "txt_attn.qkv",
    "attn.norm_q": "img_attn.norm.query_norm", "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm", "attn.norm_added_k": "txt_attn.norm.key_norm",
    "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
}  # fmt: skip
_FLUX_SINGLE = {
    "norm.linear": "modulation.lin", "attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm",
    "attn.to_q": "linear1", "attn.to_k": "linear1", "attn.to_v": "linear1", "proj_mlp": "linear1", "proj_out": "linear2",
}  # fmt: skip
_SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1", "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_q": "x_block.attn.qkv", "attn.to_k": "x_block.attn.qkv", "attn.to_v": "x_block.attn.qkv",
    "attn.add_q_proj": "context_block.attn.qkv", "attn.add_k_proj": "context_block.attn.qkv",
    "attn.add_v_proj": "context_block.attn.qkv",
    "attn.norm_q": "x_block.attn.ln_q", "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q", "attn.norm_added_k": "context_block.attn.ln_k",
    "attn.to_out.0": "x_block.attn.proj", "attn.to_add_out": "context_block.attn.proj",
    "attn2.to_q": "x_block.attn2.qkv", "attn2.to_k": "x_block.attn2.qkv", "attn2.to_v": "x_block.attn2.qkv",
    "attn2.norm_q": "x_block.attn2.ln_q", "attn2.norm_k": "x_block.attn2.ln_k", "attn2.to_out.0": "x_block.attn2.proj",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
}  # fmt: skip
_PARTS_IN_ORDER = ("to_q", "to_k", "to_v", "proj_mlp", "add_q_proj", "add_k_proj", "add_v_proj")


def transformer_state(folder: Path, family: str) -> State:
    """The transformer of a model in diffusers format under the original names."""
    (file,) = (folder / "transformer").glob("*.safetensors")
    state = load_file(file)
    order = {part: index for index, part in enumerate(_PARTS_IN_ORDER)}
    renamed: State = {}
    for name in sorted(state, key=lambda name: order.get(name.split(".")[-2], -1)):
        place, swapped = _place(name, family, last=_last_block(state))
        value = torch.cat([*state[name].chunk(2)][::-1]) if swapped else state[name]
        renamed[place] = torch.cat([renamed[place], value]) if place in renamed else value
    return {name: value.contiguous() for name, value in renamed.items()}


def _last_block(state: State) -> int:
    return max(int(name.split(".")[1]) for name in state if name.startswith("transformer_blocks."))


def _place(name: str, family: str, *, last: int) -> tuple[str, bool]:
    """The original name of a weight, and whether scale and shift are the other way round there."""
    if name == "pos_embed.pos_embed":
        return "pos_embed", False
    module, _, kind = name.rpartition(".")
    outside = _OUTSIDE[family].get(module)
    if outside is not None:
        return f"{outside}.{kind}", module == "norm_out.linear"
    blocks, number, inner = module.split(".", 2)
    if family == "sd3":
        return f"joint_blocks.{number}.{_SD3_BLOCK[inner]}.{kind}", inner == "norm1_context.linear" and int(
            number
        ) == last
    single = blocks.startswith("single")
    place = (_FLUX_SINGLE if single else _FLUX_BLOCK)[inner]
    kind = "scale" if "_norm" in place else kind
    return f"{'single' if single else 'double'}_blocks.{number}.{place}.{kind}", False


def write_gguf(path: Path, state: State, format: str, *, family: str) -> Path:
    """A GGUF file with the matrices in that format, and all the rest in float32."""
    gguf: Any = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, family)
    kind = gguf.GGMLQuantizationType[format]
    for name, value in state.items():
        array = value.float().numpy()
        if value.ndim == 2 and value.shape[1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def narrow_converter(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let diffusers' converter of Flux, in which the width of all published ones is written, take another width."""
    from diffusers.loaders import single_file_model

    entry = single_file_model.SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"]
    convert: Any = entry["checkpoint_mapping_fn"]
    code = convert.__code__
    assert 3072 in code.co_consts
    narrow: Callable[..., Any] = FunctionType(
        code.replace(co_consts=tuple(width if value == 3072 else value for value in code.co_consts)),
        convert.__globals__,
        closure=convert.__closure__,
    )
    monkeypatch.setitem(entry, "checkpoint_mapping_fn", narrow)
