"""The parts of a flow matching model in a folder in diffusers format, each loaded on its own and ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ... import families
from ..find import read_json
from .autoencoder import VaeCodec, ready_codec
from .folder import load_vae_folder


class FlowParts:
    """Those in a folder. Safetensors only.

    Attributes:
        name: what to call the model.
        about: family and format in a few words; empty where the user gave a folder, and knows.
        device, dtype: where and in which number format the parts are.
        fixed: of the transformer once it is loaded, as in `Components`.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.name = folder.name
        self.about = ""
        self.device, self.dtype = device, dtype
        self.fixed = False
        self._folder = folder
        self._index = read_json(folder / families.FOLDER_MARK)

    @property
    def scheduler(self) -> dict[str, Any]:
        """The config of the model's own scheduler."""
        return read_json(self._folder / "scheduler" / "scheduler_config.json")

    def transformer(self, kind: Any) -> Any:
        """The network itself, of that class of diffusers."""
        return self._load(kind, "transformer", torch_dtype=self.dtype)

    def codec(self) -> VaeCodec:
        """The autoencoder."""
        return ready_codec(load_vae_folder(self._folder / "vae", self.dtype), self.device, self.dtype)

    def has_text(self, suffix: str) -> bool:
        """Whether there is a text encoder with that suffix: "", "_2" or "_3"."""
        return bool(self._index.get(f"text_encoder{suffix}", (None,))[0])

    def text(self, kind: Any, suffix: str) -> TextModel:
        """A text encoder, of that class of transformers, with its tokenizer."""
        return TextModel(self._tokenizer(suffix), self._encoder(kind, suffix))

    def _tokenizer(self, suffix: str) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder / f"tokenizer{suffix}", local_files_only=True)

    def _encoder(self, kind: Any, suffix: str) -> Any:
        return self._load(kind, f"text_encoder{suffix}", dtype=self.dtype)

    def _load(self, kind: Any, part: str, **number: torch.dtype) -> Any:
        return self._ready(
            kind.from_pretrained(self._folder / part, use_safetensors=True, local_files_only=True, **number)
        )

    def _ready(self, network: Any) -> Any:
        return network.to(self.device).eval().requires_grad_(False)


class TextModel:
    """A tokenizer and its text encoder."""

    def __init__(self, tokenizer: Any, network: Any) -> None:
        self._tokenizer = tokenizer
        self.network = network

    def __call__(self, prompt: str, tokens: int | None = None) -> Any:
        """What the encoder makes of a prompt, padded or cut to so many tokens; default is what its tokenizer says."""
        length = tokens or self._tokenizer.model_max_length
        made = self._tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return self.network(made.input_ids.to(self.network.device), output_hidden_states=True)
