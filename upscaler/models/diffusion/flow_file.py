"""The parts of a flow matching model in a file with the names of the original code, safetensors or GGUF, as ComfyUI keeps it.

Such a file holds the transformer, and sometimes the autoencoder and text encoders. What it lacks is taken from a base, a
model of the same family in diffusers format; these parts are the same in all models of a family.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from ... import families, weights
from ...errors import SettingsError, WeightsNotFound
from ...headers import header_of
from ..find import find_or_download, read_json
from .autoencoder import VaeCodec, ready_codec
from .building import Builder
from .clip import clip_names, clip_tokenizer
from .flow_parts import FlowParts
from .habits import Family, family_at
from .single import build_vae
from .states import State, is_packed, read_state

_VAE = ("first_stage_model.", "vae.")
_CLIP_L, _CLIP_G, _T5 = (f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl"))
_TEXTS = {"sd3": {"": _CLIP_L, "_2": _CLIP_G, "_3": _T5}, "flux": {"": _CLIP_L, "_2": _T5}}
_ON_HUB = {"sd3": "stabilityai/stable-diffusion-3.5-medium", "flux": "black-forest-labs/FLUX.1-schnell"}
_MOST_BLOCKS = 500


class FlowFile(FlowParts):
    """The parts of one file and its base."""

    def __init__(
        self, file: Path, base: str, family: Family, device: torch.device, dtype: torch.dtype, *, allow_pickle: bool
    ) -> None:
        """
        Args:
            base: as in `settings.Diffusion`.
            family: of the file.

        Raises:
            WeightsNotFound: there is no base, and the file needs one.
            SettingsError: the base is another model.
        """
        header = header_of(file)
        self._recipe = recipe = families.tell(header).recipe
        self._file, self._names, self._pickle_is_allowed = file, header.shapes, allow_pickle
        self._vae = next((prefix for prefix in _VAE if self._carries(prefix)), "")
        self._texts = {suffix: prefix for suffix, prefix in _TEXTS[recipe].items() if self._carries(prefix)}
        # CLIP's words come with the package, those of T5, which Flux needs, with a base
        whole = bool(self._vae) and recipe == "sd3" and {"", "_2"} <= self._texts.keys()
        name, folder = _base(file.name, base, family, recipe, needed=not whole)
        super().__init__(folder, device, dtype)
        self.name = file.stem
        self._build = Builder(file, families.TRANSFORMERS[recipe])
        told = [families.TRANSFORMERS[recipe], header.form, header.numbers, name and f"the rest is that of {name}"]
        if recipe == "sd3" and not self.has_text("_3"):
            told.append("without T5")
        self.about = ", ".join(filter(None, told))

    def _carries(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self._names)

    @property
    def scheduler(self) -> dict[str, Any]:
        """Of the base; the versions of Flux differ in it: dev, which takes guidance, starts from more noise in large tiles."""
        config = super().scheduler
        if self._recipe == "flux":
            guided = any("guidance_in." in name for name in self._names)
            config |= {"use_dynamic_shifting": guided, "shift": 1.0}
        return config

    def transformer(self, kind: Any) -> Any:
        state = self._read(families.NETWORK if self._carries(families.NETWORK) else "")
        folder = weights.family_folder(self._recipe) / "transformer"
        packed = any(map(is_packed, state.values()))
        extra: dict[str, Any] = {}
        if packed:
            from diffusers import GGUFQuantizationConfig

            extra["quantization_config"] = GGUFQuantizationConfig(compute_dtype=self.dtype)
        with self._build.part("transformer"):
            shape = _shape(self._recipe, state, read_json(folder / "config.json"))
            blocks = max(shape["num_layers"], shape.get("num_single_layers", 0))
            if not 0 < blocks <= _MOST_BLOCKS:
                self._build.refuse("transformer", f"it has {blocks} blocks")
            network: Any = kind.from_single_file(
                cast("Any", state), config=str(folder), torch_dtype=self.dtype, local_files_only=True, **shape, **extra
            )
            self._build.check(network, "transformer")
        self.fixed = packed
        return self._ready(network)

    def codec(self) -> VaeCodec:
        if not self._vae:
            return super().codec()
        with self._build.part("autoencoder (VAE)"):
            vae = build_vae(self._read(self._vae), self._folder / "vae", self.dtype)
            self._build.check(vae, "autoencoder (VAE)")
        return ready_codec(vae, self.device, self.dtype)

    def has_text(self, suffix: str) -> bool:
        """The words of T5 are in a base alone, so there is no T5 without one that has it."""
        return (suffix in self._texts and self._texts[suffix] != _T5) or super().has_text(suffix)

    def _tokenizer(self, suffix: str) -> Any:
        if (self._folder / f"tokenizer{suffix}").is_dir():
            return super()._tokenizer(suffix)
        return clip_tokenizer("!" if suffix == "_2" else "<|endoftext|>")

    def _encoder(self, kind: Any, suffix: str) -> Any:
        from accelerate import init_empty_weights

        prefix = self._texts.get(suffix)
        if prefix is None:
            return super()._encoder(kind, suffix)
        state = self._read(prefix)
        config = kind.config_class.from_pretrained(self._folder / f"text_encoder{suffix}", local_files_only=True)
        with init_empty_weights():
            network = kind(config)
        wanted = set(network.state_dict())
        with self._build.part("text encoder"):
            if prefix == _T5:
                named = {"encoder.embed_tokens.weight": state["shared.weight"], **state}
            else:
                named = clip_names(state, wanted)
            if prefix == _CLIP_L:  # its summary is taken as it is
                named["text_projection.weight"] = torch.eye(config.projection_dim)
            network.load_state_dict({name: named[name] for name in wanted & named.keys()}, strict=False, assign=True)
            self._build.check(network, "text encoder")
        network = network.to(self.dtype)
        if self.dtype == torch.float16:  # as transformers' own loading leaves them
            for name, module in network.named_modules():
                if set(name.split(".")) & set(getattr(network, "_keep_in_fp32_modules", None) or ()):
                    module.float()
        return self._ready(network)

    def _read(self, prefix: str) -> State:
        return read_state(self._file, prefix, allow_pickle=self._pickle_is_allowed)


def _shape(recipe: str, state: State, config: Mapping[str, Any]) -> dict[str, Any]:
    """In what the transformer differs from the family's config, as the weights tell it."""
    if recipe == "flux":
        return {
            "num_layers": _blocks(state, "double_blocks"),
            "num_single_layers": _blocks(state, "single_blocks"),
            "guidance_embeds": any(name.startswith("guidance_in.") for name in state),
        }
    width = state["x_embedder.proj.weight"].shape[0]
    twice = {int(found[1]) for name in state if (found := re.match(r"joint_blocks\.(\d+)\.x_block\.attn2\.", name))}
    return {
        "num_layers": _blocks(state, "joint_blocks"),
        "num_attention_heads": width // config["attention_head_dim"],
        "caption_projection_dim": width,
        "pos_embed_max_size": math.isqrt(state["pos_embed"].shape[1]),
        "dual_attention_layers": tuple(sorted(twice)),
        "qk_norm": "rms_norm" if any(".attn.ln_q." in name for name in state) else None,
    }


def _blocks(state: State, name: str) -> int:
    return 1 + max((int(key.split(".")[1]) for key in state if key.startswith(f"{name}.")), default=-1)


def _base(file: str, name: str, family: Family, recipe: str, *, needed: bool) -> tuple[str, Path]:
    """Name and folder of the model that lends what a file lacks; without a name the family's own shapes, if none is needed."""
    found = next((base for base in _bases(family) if name in ("auto", base[0])), None)
    if found is not None:
        return found
    what = families.TRANSFORMERS[recipe]
    if name == "auto":
        if not needed:
            return "", weights.family_folder(recipe)
        raise WeightsNotFound(
            f"{file} holds the transformer of {what} and not all of the rest, and there is no {what} model in diffusers format on "
            f"this machine to lend it; give diffusion.base such a folder, or a hub id, such as {_ON_HUB[recipe]}"
        )
    folder = find_or_download(name, "diffusion", _download, what="a folder in diffusers format")
    if folder.is_file() or family_at(folder) is not family:
        raise SettingsError(
            f"diffusion.base: {file} takes what it lacks from a {what} model in diffusers format, and {name} is none; name a "
            f"folder, or a hub id, such as {_ON_HUB[recipe]}"
        )
    return name, folder


def _bases(family: Family) -> Iterator[tuple[str, Path]]:
    """Models of that family in diffusers format with all parts but perhaps the transformer, in the order of lists."""
    parts = ("vae", "text_encoder", "text_encoder_2")
    for name, folder in weights.model_folders():
        if family_at(folder) is family and all(any((folder / part).glob("*.safetensors")) for part in parts):
            yield name, folder


def _download(hub_id: str) -> Path:
    """All of a repository but its transformer, which is the larger part and not needed."""
    from diffusers import DiffusionPipeline

    return Path(DiffusionPipeline.download(hub_id, transformer=None, use_safetensors=True, trust_remote_code=False))
