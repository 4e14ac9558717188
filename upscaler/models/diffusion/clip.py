"""What a single file lacks or names in another way of CLIP's text encoders: their tokenizer, and transformers' names."""

from __future__ import annotations

import gzip
import json
from collections.abc import Container
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ... import weights

_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_OUTSIDE = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}


def clip_names(state: dict[str, torch.Tensor], wanted: Container[str]) -> dict[str, torch.Tensor]:
    """A text encoder's weights under transformers' names.

    Args:
        state: under the names of OpenCLIP, or of transformers in any version.
        wanted: the names in the model at hand, which lie below `text_model.` or not, as the version has it.
    """
    named: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name == "text_projection":
            named["text_projection.weight"] = value.T.contiguous()
        elif name.startswith("transformer.resblocks."):
            named |= _layer(name.removeprefix("transformer.resblocks."), value)
        else:
            named[_OUTSIDE.get(name, name.removeprefix("text_model."))] = value
    return {name if name in wanted else f"text_model.{name}": value for name, value in named.items()}


def _layer(name: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """A weight of one block; queries, keys and values lie in one matrix there."""
    number, inner = name.split(".", 1)
    place = f"encoder.layers.{number}"
    if inner.startswith("attn.in_proj_"):
        kind = inner.removeprefix("attn.in_proj_")
        return {f"{place}.self_attn.{part}_proj.{kind}": piece for part, piece in zip("qkv", value.chunk(3))}
    module, _, kind = inner.rpartition(".")
    return {f"{place}.{_LAYER.get(module, module)}.{kind}": value}


def clip_tokenizer(pad: str) -> Any:
    """CLIP's tokenizer, from the table in the package; one of its own for each caller, who may teach it words.

    Args:
        pad: fills up to 77 tokens.
    """
    from transformers import CLIPTokenizer

    merges = gzip.decompress((weights.bundled_folder() / "clip" / "merges.txt.gz").read_bytes()).decode("utf-8")
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    pairs = [pair.replace(" ", "") for pair in merges.splitlines()]
    words = [*letters, *(letter + "</w>" for letter in letters), *pairs, "<|startoftext|>", "<|endoftext|>"]
    config = {"bos_token": words[-2], "eos_token": words[-1], "unk_token": words[-1], "pad_token": pad}
    with TemporaryDirectory() as folder:  # files are what every version of transformers takes
        (Path(folder) / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}), "utf-8")
        (Path(folder) / "merges.txt").write_text(f"#version: 0.2\n{merges}", "utf-8")
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 77}), "utf-8")
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
