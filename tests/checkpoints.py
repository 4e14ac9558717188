"""Stable Diffusion checkpoints with random weights: the real classes and the real folder format, in a few megabytes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    ControlNetUnionModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from peft import LoraConfig
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from upscaler import weights


def make_sd(folder: Path, *, prediction: str = "epsilon", vae: str = "kl", width: int = 32) -> Path:
    """An SD 1.x (epsilon) or 2.x (v_prediction) checkpoint."""
    torch.manual_seed(1)
    parts = {
        "unet": _unet(cross=32, block_out_channels=(width, 64)),
        "vae": _vae(vae),
        "text_encoder": CLIPTextModel(_text(32)),
        "scheduler": _scheduler(prediction),
    }
    return _save(folder, "StableDiffusionPipeline", parts, ["tokenizer"])


def make_sdxl(folder: Path) -> Path:
    """An SDXL checkpoint: two text encoders, and sizes as extra conditions."""
    torch.manual_seed(2)
    extra = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 32,
    }
    parts = {
        "unet": _unet(cross=64, **extra),
        "vae": _vae("kl"),
        "text_encoder": CLIPTextModel(_text(32)),
        "text_encoder_2": CLIPTextModelWithProjection(_text(32)),
        "scheduler": _scheduler("epsilon"),
    }
    return _save(
        folder, "StableDiffusionXLPipeline", parts, ["tokenizer", "tokenizer_2"], force_zeros_for_empty_prompt=True
    )


def make_sd3(folder: Path, *, t5: bool = True, words: int = 514) -> Path:
    """A Stable Diffusion 3 checkpoint: a transformer, two CLIP encoders, and T5 or none."""
    torch.manual_seed(5)
    parts: dict[str, Any] = {
        "transformer": SD3Transformer2DModel(
            sample_size=32, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
            joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=64, pos_embed_max_size=64,
            dual_attention_layers=(0,), qk_norm="rms_norm",
        ),
        "vae": _vae("kl", layers=2, shift_factor=0.1, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": CLIPTextModelWithProjection(_text(32, words)),
        "text_encoder_2": CLIPTextModelWithProjection(_text(32, words)),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }  # fmt: skip
    if t5:
        parts["text_encoder_3"] = T5EncoderModel(_t5(64))
    tokenizers = ["tokenizer", "tokenizer_2", *(["tokenizer_3"] if t5 else [])]
    missing = {} if t5 else {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    return _save(folder, "StableDiffusion3Pipeline", parts, tokenizers, **missing)


def make_flux(folder: Path, *, guidance: bool = True) -> Path:
    """A Flux checkpoint: dev, which takes guidance and shifts by the size, or schnell."""
    torch.manual_seed(6)
    parts: dict[str, Any] = {
        "transformer": FluxTransformer2DModel(
            in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=64, pooled_projection_dim=32, guidance_embeds=guidance, axes_dims_rope=(4, 6, 6),
        ),
        "vae": _vae("kl", layers=2, shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": CLIPTextModel(_text(32)),
        "text_encoder_2": T5EncoderModel(_t5(64)),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=guidance),
    }  # fmt: skip
    return _save(folder, "FluxPipeline", parts, ["tokenizer", "tokenizer_2"])


def make_one_step(file: Path, kind: str, base: Path) -> Path:
    """PiSA-SR ("pisa-sr") or OSEDiff ("osediff") for that base, as their trainings publish it: made by PEFT, all at random.

    Their low-rank changes are spread over adapters by the part of the network; half of what they start from is zero, so
    that is drawn at random too.
    """
    unet: Any = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    torch.manual_seed(4)
    content: dict[str, Any] = {}
    targets = _targets(unet)
    if kind == "pisa-sr":
        for part, rank in (("pix", 4), ("sem", 2)):
            for place, modules in targets.items():
                add_adapter(unet, f"default_{place}_{part}", rank, modules)
                content[f"unet_lora_{place}_modules_{part}"] = modules
            content[f"lora_rank_unet_{part}"] = rank
    else:
        vae: Any = AutoencoderKL.from_pretrained(base, subfolder="vae")
        for place, modules in targets.items():
            add_adapter(unet, f"default_{place}", 4, modules)
            content[f"unet_lora_{place}_modules"] = modules
        modules = [name for name in _layers(vae) if name.startswith(("encoder", "quant_conv"))]
        add_adapter(vae, "default_encoder", 4, modules)
        _draw(vae)
        state = {name: tensor for name, tensor in vae.state_dict().items() if "lora" in name}
        content |= {"rank_unet": 4, "rank_vae": 4, "vae_lora_encoder_modules": modules, "state_dict_vae": state}
        torch.nn.init.normal_(unet.conv_in.base_layer.weight, std=0.1)
    _draw(unet)
    kept = ("lora",) if kind == "pisa-sr" else ("lora", "conv_in")
    state = {name: tensor for name, tensor in unet.state_dict().items() if any(part in name for part in kept)}
    torch.save({**content, "state_dict_unet": state}, file)
    return file


def add_adapter(network: Any, name: str, rank: int, modules: list[str]) -> None:
    """A low-rank change to some layers, by PEFT, as the trainings of PiSA-SR and OSEDiff add one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are meant
        network.add_adapter(LoraConfig(r=rank, target_modules=modules), adapter_name=name)


def _layers(network: torch.nn.Module) -> list[str]:
    """What the trainings change: every linear layer and convolution but those of time."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return [name for name, layer in network.named_modules() if isinstance(layer, kinds) and "time" not in name]


def _targets(unet: torch.nn.Module) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {"encoder": [], "decoder": [], "others": []}
    for name in _layers(unet):
        down, up = name.startswith(("down_blocks", "conv_in")), name.startswith(("up_blocks", "conv_out"))
        places["encoder" if down else "decoder" if up else "others"].append(name)
    return places


def _draw(network: torch.nn.Module) -> None:
    for name, weight in network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.02)


def make_family(folder: Path, family: str) -> Path:
    """A checkpoint with the levels and the words of a family, "sd1", "sd2", "sdxl" or "refiner", in narrow layers.

    Other than those above it fits a single file: diffusers' converter counts on two layers a level, and the file brings no
    tokenizer.
    """
    from upscaler.models.diffusion.clip import clip_tokenizer

    torch.manual_seed(7)
    real = json.loads((weights.family_folder(family) / "unet" / "config.json").read_text())
    cross = {"sdxl": 64}.get(family, 32)
    config: dict[str, Any] = {
        **real,
        "sample_size": 16,
        "cross_attention_dim": cross,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    }
    config["block_out_channels"] = [8 * (level + 1) for level in range(len(real["block_out_channels"]))]
    if "addition_embed_type" in real:
        numbers = 5 if family == "refiner" else 6
        config |= {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": numbers * 8 + 32}
    parts: dict[str, Any] = {"unet": UNet2DConditionModel(**config), "vae": _vae("kl", layers=2)}
    index = json.loads((weights.family_folder(family) / "model_index.json").read_text())
    for suffix in ("", "_2"):
        if index.get(f"text_encoder{suffix}", [None])[0]:
            kind = CLIPTextModelWithProjection if suffix else CLIPTextModel
            parts[f"text_encoder{suffix}"] = kind(_text(32, words=49408))
    parts["scheduler"] = _scheduler("epsilon")
    extra = {key: index[key] for key in ("force_zeros_for_empty_prompt", "requires_aesthetics_score") if key in index}
    _save(folder, index["_class_name"], parts, [], **extra)
    index = json.loads((folder / "model_index.json").read_text())
    for suffix in ("", "_2"):
        if f"text_encoder{suffix}" in parts:
            pad = "<|endoftext|>" if not suffix and family != "sd2" else "!"
            clip_tokenizer(pad).save_pretrained(folder / f"tokenizer{suffix}")
            index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def make_control(folder: Path, checkpoint: Path, *, pickled: bool = False) -> Path:
    """A ControlNet for that checkpoint; untrained ones add zeros, so its last layers are drawn at random."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    torch.manual_seed(3)
    control: Any = ControlNetModel.from_unet(unet)
    for layer in (
        *control.controlnet_down_blocks,
        control.controlnet_mid_block,
        control.controlnet_cond_embedding.conv_out,
    ):
        torch.nn.init.normal_(layer.weight, std=0.3)
    control.save_pretrained(folder, safe_serialization=not pickled)
    return folder


def make_union(folder: Path, checkpoint: Path, *, kinds: int = 8) -> Path:
    """A union ControlNet for that checkpoint, drawn at random; 8 kinds of hints are those of ProMax, 6 have no tile."""
    unet: Any = UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    torch.manual_seed(4)
    like = ControlNetUnionModel.from_unet(unet, load_weights_from_unet=False)
    width = unet.config["block_out_channels"][0]
    widths = {"num_trans_channel": width, "num_proj_channel": width}
    control: Any = ControlNetUnionModel.from_config(
        {**like.config, "num_control_type": kinds, **widths, "_use_default_values": []}
    )
    for layer in (
        *control.controlnet_down_blocks,
        control.controlnet_mid_block,
        control.controlnet_cond_embedding.conv_out,
        control.spatial_ch_projs,
    ):
        torch.nn.init.normal_(layer.weight, std=0.3)
    control.save_pretrained(folder)
    return folder


def _unet(cross: int, **extra: Any) -> UNet2DConditionModel:
    config: dict[str, Any] = {"block_out_channels": (32, 64), **extra}
    return UNet2DConditionModel(
        sample_size=16, layers_per_block=1, cross_attention_dim=cross, attention_head_dim=8, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **config,
    )  # fmt: skip


def _vae(kind: str, layers: int = 1, **extra: Any) -> AutoencoderKL | AutoencoderTiny:
    if kind == "tiny":
        return AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    blocks: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8,) * 4,
    }
    return AutoencoderKL(norm_num_groups=4, latent_channels=4, layers_per_block=layers, **blocks, **extra)


def _text(width: int, words: int = 514) -> CLIPTextConfig:
    """The last two of the words are the marks of start and end."""
    return CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        projection_dim=width, bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1,
    )  # fmt: skip


def _scheduler(prediction: Any) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction,
        clip_sample=False, steps_offset=1,
    )  # fmt: skip


def _save(folder: Path, kind: str, parts: dict[str, Any], tokenizers: list[str], **extra: Any) -> Path:
    index: dict[str, Any] = {"_class_name": kind, **extra}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        index[name] = ["transformers" if name.startswith("text") else "diffusers", type(part).__name__]
    for name in tokenizers:
        encoder = str(index[name.replace("tokenizer", "text_encoder")][1])
        (_t5_tokenizer if encoder.startswith("T5") else _tokenizer)(folder / name)
        index[name] = ["transformers", "T5TokenizerFast" if encoder.startswith("T5") else "CLIPTokenizer"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _t5(width: int) -> T5Config:
    return T5Config(vocab_size=300, d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4)


def _t5_tokenizer(folder: Path) -> None:
    """A T5 tokenizer that knows single letters only."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(97, 123)]
    T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512).save_pretrained(folder)


def _tokenizer(folder: Path) -> None:
    """A CLIP tokenizer that knows single bytes only."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)
