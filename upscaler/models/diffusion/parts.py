"""The parts of a Stable Diffusion model, and of the bundled one: loaded from a folder or file, and made ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from ... import families
from ...errors import UnsupportedModel
from ..find import read_json
from .adapters import adapt
from .components import Codec, Components
from .folder import FolderParts
from .single import FileParts
from .text import TextEncoder

_CELLS = 32  # of a side, on which the network is asked what it predicts
_LATEST = 999  # the timestep where next to nothing but noise is left


class Parts(Protocol):
    """A checkpoint in some format, whose parts are loaded one by one, on the CPU."""

    index: dict[str, Any]
    """As in `model_index.json` of a folder in diffusers format."""
    about: str
    """Family and format in a few words; empty where the user gave a folder, and knows."""
    vae_config: Path
    """Folder with the config of its autoencoder."""

    @property
    def scheduler(self) -> dict[str, Any]: ...
    def unet(self, dtype: torch.dtype) -> Any: ...
    def vae(self, dtype: torch.dtype) -> Any: ...
    def text(self, suffix: str, dtype: torch.dtype) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Extras:
    """What is laid over a checkpoint, as in `settings.Diffusion`."""

    vae: str = "auto"
    lora: str = ""
    embedding: str = ""
    clip_skip: int = 1


def load_parts(
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    extras: Extras = Extras(),
    allow_pickle: bool = False,
) -> Components:
    """The parts of the Stable Diffusion model in that folder or file, on the device, ready to run.

    The caller holds `device.loading`.

    Raises:
        UnsupportedModel: it holds another kind of model, or a part is missing.
        OSError, ValueError, KeyError, TypeError, RuntimeError: what libraries raise about a damaged one.
    """
    from .autoencoder import load_vae, ready_codec  # brings transformers, which the bundled model does without

    parts = open_parts(path, allow_pickle=allow_pickle)
    autoencoder: Any
    if extras.vae == "auto":
        autoencoder = parts.vae(dtype)
    else:
        autoencoder = load_vae(extras.vae, parts.vae_config, dtype, allow_pickle=allow_pickle)
    codec = ready_codec(autoencoder, device, dtype)
    unet: Any = parts.unet(dtype)
    _check_inputs(path, unet, codec)
    unet = unet.to(device)
    encoders = [_text(parts, suffix, device, dtype) for suffix in ("", "_2") if _has(parts, suffix)]
    sdxl = "XL" in str(parts.index.get("_class_name", ""))
    adapt(unet, encoders, lora=extras.lora, embedding=extras.embedding, sdxl=sdxl, allow_pickle=allow_pickle)
    unet = ready(unet, device)
    zeros = bool(parts.index.get("force_zeros_for_empty_prompt", False))
    text = TextEncoder(encoders, zeros_for_empty=zeros, clip_skip=extras.clip_skip)
    scheduler = parts.scheduler
    about = parts.about
    if getattr(parts, "measure", False):
        scheduler["prediction_type"] = measured_prediction(unet)
        about = f"{about}, predicts {'v' if scheduler['prediction_type'] == 'v_prediction' else 'the noise'} (measured)"
    return Components(
        unet,
        codec,
        scheduler,
        text,
        conditioned=False,
        aesthetic=bool(parts.index.get("requires_aesthetics_score", False)),
        about=about,
    )


def pocket_parts(folder: Path, device: torch.device, dtype: torch.dtype) -> Components:
    """The parts of the bundled model in that folder, on the device, ready to run. Raises: as `load_parts`."""
    from .haar import HaarCodec
    from .pocket import PocketUNet

    unet = PocketUNet.from_pretrained(folder / "unet", dtype)
    return Components(
        unet=ready(unet.to(device), device),
        codec=HaarCodec.from_pretrained(folder / "vae").to(device=device),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        text=None,
        conditioned=True,
        full_strength=float(unet.config["full_strength"]),
    )


def open_parts(path: Path, *, allow_pickle: bool = False) -> Parts:
    """The checkpoint in that file or folder, nothing of it loaded.

    Raises:
        UnsupportedModel: it is neither a diffusers folder nor a single file that we know.
    """
    if path.is_file():
        return FileParts(path, allow_pickle=allow_pickle)
    if (path / families.FOLDER_MARK).is_file():
        return FolderParts(path, read_json(path / families.FOLDER_MARK))
    raise UnsupportedModel(
        f"{path}: is not a diffusers folder (no {families.FOLDER_MARK} in it); give such a folder, or a .safetensors file"
    )


def ready(network: Any, device: torch.device) -> Any:
    """The network as it runs fastest, without gradients."""
    if device.type == "cpu":
        network = network.to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def _check_inputs(path: Path, unet: Any, codec: Codec) -> None:
    channels = int(unet.config["in_channels"])
    if (
        channels != codec.latent_channels
        or unet.config.get("time_cond_proj_dim")
        or unet.config.get("num_class_embeds")
    ):
        raise UnsupportedModel(
            f"{path}: its UNet has {channels} input channels for {codec.latent_channels} of its latents, or wants other "
            "inputs than a prompt; use a plain text-to-image checkpoint"
        )


@torch.inference_mode()
def measured_prediction(unet: Any) -> str:
    """ "epsilon" or "v_prediction", by one small evaluation on pure noise at the last timestep.

    There the noise prediction of a trained network is nearly its input, while the velocity is nearly the negative of the
    clean picture, which has little to do with it (Salimans and Ho 2022, appendix D).
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, unet.config["in_channels"], _CELLS, _CELLS, generator=generator)
    weight = next(unet.parameters())
    text = torch.zeros(1, 77, unet.config["cross_attention_dim"], dtype=weight.dtype, device=weight.device)
    output = unet(noise.to(weight), torch.tensor(_LATEST, device=weight.device), encoder_hidden_states=text).sample
    alike = torch.corrcoef(torch.stack([noise.flatten(), output.float().cpu().flatten()]))[0, 1]
    return "epsilon" if float(alike) > 0.5 else "v_prediction"


def _has(parts: Parts, suffix: str) -> bool:
    return bool(parts.index.get(f"text_encoder{suffix}", (None,))[0])


def _text(parts: Parts, suffix: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    import transformers

    transformers.utils.logging.disable_progress_bar()  # a second of loading needs no bar between ours
    tokenizer, model = parts.text(suffix, dtype)
    return tokenizer, model.to(device).eval().requires_grad_(False)
