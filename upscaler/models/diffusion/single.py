"""The parts of a diffusion model in a single file with the names of the original code, as WebUI and ComfyUI keep them.

What such a file does not carry comes with the package: the shapes of each family (`weights/families`) and the tokenizer.
diffusers converts UNet and autoencoder; nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from ... import families, weights
from ...errors import UnsupportedModel
from ...families import NETWORK, Contents
from ...headers import Header, header_of
from ..find import read_json
from .building import Builder
from .clip import clip_names, clip_tokenizer
from .folder import vae_dtype
from .states import State, read_state

_VAE = "first_stage_model."
_TEXT = {
    "sd1": {"": "cond_stage_model.transformer."},
    "sd2": {"": "cond_stage_model.model."},
    "sdxl": {"": "conditioner.embedders.0.transformer.", "_2": "conditioner.embedders.1.model."},
    "refiner": {"_2": "conditioner.embedders.0.model."},
}


class FileParts:
    """Loads the parts of a Stable Diffusion model in one file, each on its own."""

    def __init__(self, file: Path, *, allow_pickle: bool = False) -> None:
        """
        Raises:
            UnsupportedModel: it holds something else, which is named, or lacks a part.
        """
        self._file = file
        self._header = header_of(file)
        self._pickle_is_allowed = allow_pickle
        contents = families.tell(self._header)
        if contents.recipe not in families.SINGLE_FILES:
            raise UnsupportedModel(f"{file}: {contents.problem}")
        self.recipe = contents.recipe
        self._build = Builder(file, contents.family)
        self._folder = weights.family_folder(contents.recipe)
        self.vae_config = self._folder / "vae"
        self.index = read_json(self._folder / families.FOLDER_MARK)
        self.scheduler = read_json(self._folder / "scheduler" / "scheduler_config.json")
        told = prediction_told(file, self._header)
        if told is not None:
            self.scheduler["prediction_type"] = told
        if "ztsnr" in self._header.shapes:  # the schedule ends in pure noise (Lin et al. 2024)
            self.scheduler["rescale_betas_zero_snr"] = True
        self.measure = told is None and contents.recipe == "sd2"
        self.about = _about(contents, self._header)

    @property
    def has_vae(self) -> bool:
        return any(name.startswith(_VAE) for name in self._header.shapes)

    def unet(self, dtype: torch.dtype) -> Any:
        from diffusers import UNet2DConditionModel

        with self._build.part("UNet"):
            unet: Any = UNet2DConditionModel.from_single_file(
                cast("Any", {f"{NETWORK}{name}": value for name, value in self._read(NETWORK).items()}),
                config=str(self._folder / "unet"),
                torch_dtype=dtype,
                local_files_only=True,
            )
        return unet

    def vae(self, dtype: torch.dtype) -> Any:
        """The autoencoder; in float32 where the family's does not bear float16.

        Raises:
            UnsupportedModel: there is none in the file.
        """
        if not self.has_vae:
            raise UnsupportedModel(
                f"{self._file}: has no autoencoder (VAE) in it; give one for {self.about} with --vae PATH"
            )
        with self._build.part("autoencoder (VAE)"):
            vae = build_vae(self._read(_VAE), self.vae_config, dtype)
        return vae

    def text(self, suffix: str, dtype: torch.dtype) -> tuple[Any, Any]:
        """A tokenizer and its text model; `suffix` is "" or "_2"."""
        import transformers
        from accelerate import init_empty_weights

        prefix = _TEXT[self.recipe][suffix]
        state = self._read(prefix)
        if not state:
            raise UnsupportedModel(
                f"{self._file}: has no text encoder in it ({prefix}*); use a whole checkpoint, not one that was pruned to its UNet"
            )
        kind: Any = getattr(transformers, self.index[f"text_encoder{suffix}"][1])
        config = kind.config_class.from_pretrained(self._folder / f"text_encoder{suffix}", local_files_only=True)
        with init_empty_weights():
            model = kind(config)
        wanted = set(model.state_dict())
        named = clip_names(state, wanted)
        with self._build.part("text encoder"):
            model.load_state_dict({name: named[name] for name in wanted & named.keys()}, strict=False, assign=True)
        self._build.check(model, "text encoder")
        # OpenCLIP's encoders were trained with "!" after the end, OpenAI's with the mark of the end
        pad = "<|endoftext|>" if suffix == "" and self.recipe != "sd2" else "!"
        return clip_tokenizer(pad), model.to(dtype)

    def _read(self, prefix: str) -> State:
        return read_state(self._file, prefix, allow_pickle=self._pickle_is_allowed)


def build_vae(state: State, config: Path, dtype: torch.dtype) -> Any:
    """An autoencoder from its weights, under the names of diffusers or of the original code, or of TAESD.

    Args:
        config: folder with the config of an `AutoencoderKL` of the family.
    """
    from diffusers import AutoencoderKL, AutoencoderTiny

    if any(name.startswith(("taesd_", "encoder.layers.", "decoder.layers.")) for name in state):
        vae: Any = AutoencoderTiny(scaling_factor=1.0)
        vae.load_state_dict(tiny_names(state))
        return vae.to(vae_dtype({}, dtype)).eval()
    return AutoencoderKL.from_single_file(
        cast("Any", dict(state)),
        config=str(config),
        torch_dtype=vae_dtype(read_json(config / "config.json"), dtype),
        local_files_only=True,
    )


def tiny_names(state: State) -> State:
    """TAESD's weights under diffusers' names. In the original lists the decoder begins with its clamp, hence the 1."""
    renamed: State = {}
    for name, value in state.items():
        if name.startswith("taesd_"):
            side, number, rest = name.removeprefix("taesd_").split(".", 2)
            renamed[f"{side}.layers.{int(number) - (side == 'decoder')}.{rest}"] = value
        elif name.startswith(("encoder.", "decoder.")):
            renamed[name] = value
    return renamed


def prediction_told(file: Path, header: Header) -> str | None:
    """What the network predicts, "epsilon" or "v_prediction", where the file, its name or a .yaml beside it says so."""
    if "v_pred" in header.shapes:
        return "v_prediction"
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    if said:
        return "v_prediction" if said.startswith("v") else "epsilon"
    try:
        settings = file.with_suffix(".yaml").read_text("utf-8")
        return "v_prediction" if 'parameterization: "v"' in settings or "parameterization: v" in settings else "epsilon"
    except (OSError, ValueError):
        pass
    name = file.stem.lower().replace("-", "").replace("_", "")
    return "v_prediction" if "vpred" in name else None


def _about(contents: Contents, header: Header) -> str:
    numbers = f", {header.numbers}" if header.numbers else ""
    return f"{contents.family}, single file{numbers}"
