"""The parts of a diffusion model in a folder in diffusers format. Safetensors only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ... import families, weights
from ...errors import UnsupportedModel
from ..find import read_json
from .validate import whole

_LOCAL: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}


class FolderParts:
    """Loads the parts of a Stable Diffusion model in diffusers format, each on its own."""

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        """
        Raises:
            UnsupportedModel: it holds another kind of model.
        """
        kind = str(index.get("_class_name", ""))
        if not kind.startswith(("StableDiffusion", "LatentConsistencyModel")):
            raise UnsupportedModel(
                f"{folder}: holds a {kind or 'model of no name'}; supported are SD 1.x, 2.x, SDXL, SD 3, Flux.1 and pocket"
            )
        self.index = index
        self.about = ""
        self._folder = folder
        own = folder / "vae"
        plain = weights.family_folder("sdxl" if "XL" in kind else "sd1") / "vae"
        self.vae_config = own if families.class_of(own) == "AutoencoderKL" else plain

    @property
    def scheduler(self) -> dict[str, Any]:
        return read_json(self._folder / "scheduler" / "scheduler_config.json")

    def unet(self, dtype: torch.dtype) -> Any:
        from diffusers import UNet2DConditionModel

        return whole(UNet2DConditionModel, self._folder / "unet", torch_dtype=dtype, **_LOCAL)

    def vae(self, dtype: torch.dtype) -> Any:
        """The autoencoder; in float32 where it does not bear float16."""
        return load_vae_folder(self._folder / "vae", dtype)

    def text(self, suffix: str, dtype: torch.dtype) -> tuple[Any, Any]:
        """A tokenizer and its text model; `suffix` is "" or "_2"."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        projected = self.index[f"text_encoder{suffix}"][1] == "CLIPTextModelWithProjection"
        tokenizer = CLIPTokenizer.from_pretrained(self._folder / f"tokenizer{suffix}", local_files_only=True)
        kind = CLIPTextModelWithProjection if projected else CLIPTextModel
        return tokenizer, whole(kind, self._folder / f"text_encoder{suffix}", dtype=dtype, **_LOCAL)


def load_vae_folder(folder: Path, dtype: torch.dtype) -> Any:
    """An `AutoencoderKL` or `AutoencoderTiny`; in float32 where its config says that it does not bear float16."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    config = read_json(folder / "config.json")
    kind = AutoencoderTiny if families.class_of(folder) == "AutoencoderTiny" else AutoencoderKL
    return whole(kind, folder, torch_dtype=vae_dtype(config, dtype), **_LOCAL)


def vae_dtype(config: dict[str, Any], dtype: torch.dtype) -> torch.dtype:
    """Half precision where the autoencoder bears it; bfloat16 has too few bits for the last step to pixels."""
    return dtype if dtype == torch.float16 and not config.get("force_upcast", False) else torch.float32
