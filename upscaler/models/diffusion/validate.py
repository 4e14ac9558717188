"""Whether the parts of a diffusion model make sense together, asked before a run and not found out by a black picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from ...errors import UnsupportedModel
from ...folders import read_object
from ...text import shown
from .sampling import Sampler

_FACTORS = (1, 2, 4, 8, 16, 32)
_MOST_TIMESTEPS = 100_000
_MOST_LAYERS = 500


def whole(kind: Any, folder: Path, **options: Any) -> Any:
    """The network of a class of diffusers or transformers in a folder, loaded.

    They fill what the file lacks with random numbers, and print a warning.

    Raises:
        UnsupportedModel: the file lacks weights.
        OSError, ValueError, and more: what the libraries raise.
    """
    check_depth(folder)
    network, told = kind.from_pretrained(folder, output_loading_info=True, **options)
    refuse_missing(folder, told["missing_keys"])
    return network


def refuse_missing(folder: Path, keys: Collection[str]) -> None:
    """Refuse a network whose file lacks weights of these names, if any."""
    missing = sorted(keys)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnsupportedModel(f"{folder}: {missing[0]}{more} missing among its weights; the model is not complete")


def check_depth(folder: Path) -> None:
    """Refuse a description with too many layers: they are built before the file with the weights is looked at.

    Raises:
        UnsupportedModel: says which number it is.
    """
    for key, value in read_object(folder / "config.json").items():
        for number in value if isinstance(value, list) else [value]:
            if "layers" in key and isinstance(number, (int, float)) and not -_MOST_LAYERS <= number <= _MOST_LAYERS:
                raise UnsupportedModel(
                    f"{folder}: {key} {shown(value)} is more than {_MOST_LAYERS}; the model is damaged"
                )


def check_parts(name: str, parts: Any) -> None:
    """Check what is common to all diffusion models.

    Args:
        parts: `components.Components`.

    Raises:
        UnsupportedModel: a description does not fit its network, the noise schedule is none, or weights are no numbers.
    """
    codec, unet = parts.codec, parts.unet
    latents = int(codec.latent_channels)
    if codec.factor not in _FACTORS:
        _refuse(name, f"its autoencoder makes cells of {codec.factor} pixels; supported are {_FACTORS}")
    wanted = {"in_channels": latents * (2 if parts.conditioned else 1), "out_channels": latents}
    for key, channels in wanted.items():
        if unet.config.get(key) != channels:
            _refuse(name, f"its UNet has {key} {unet.config.get(key)!r:.40}, and its autoencoder needs {channels}")
    if not (math.isfinite(parts.full_strength) and 0 <= parts.full_strength <= 1):
        _refuse(name, f"its full_strength is {parts.full_strength}, which is not within 0 to 1")
    _check_schedule(name, parts.scheduler)
    networks = [("UNet", unet), ("autoencoder", getattr(codec, "network", None)), ("ControlNet", parts.control)]
    networks += [("text encoder", network) for network in getattr(parts.text, "networks", ())]
    for what, network in networks:
        for key in _broken(network):
            _refuse(name, f"the weights {key} of its {what} are not finite")


def _check_schedule(name: str, config: dict[str, Any]) -> None:
    """A sampler is made of the config as each tile will make it, and its noise has to fall from step to step."""
    steps = config.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= _MOST_TIMESTEPS:
        _refuse(name, f"its scheduler has {steps!r:.40} timesteps; give 1 to {_MOST_TIMESTEPS}")
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        _refuse(
            name, f"its scheduler has the prediction type {prediction!r:.40}; known are epsilon, v_prediction, sample"
        )
    scaling = config.get("timestep_scaling", 10.0)
    if isinstance(scaling, bool) or not isinstance(scaling, (int, float)) or not 0 < scaling < 1e6:
        _refuse(name, f"its scheduler has the timestep scaling {scaling!r:.40}, which is no number above 0")
    try:
        sampler = Sampler("ddim", config, strength=1.0, steps=min(steps, 20), device=torch.device("cpu"))
        alphas = sampler.alphas
    except (ValueError, TypeError, RuntimeError, NotImplementedError, OverflowError) as error:
        raise UnsupportedModel(
            f"{name}: its scheduler cannot be used ({' '.join(str(error).split())[:150]})"
        ) from error
    if len(alphas) != steps or not bool(((alphas > 0) & (alphas <= 1)).all() and (alphas.diff() <= 0).all()):
        _refuse(name, "the betas of its scheduler are no noise schedule: noise has to grow from 0 towards 1")


def _broken(network: Any) -> Iterator[str]:
    """The names of weights that are not finite; a sum is as telling as each of them, and needs no memory."""
    if not isinstance(network, torch.nn.Module):
        return
    with torch.inference_mode():
        for key, weight in network.state_dict().items():
            if weight.is_floating_point() and not bool(torch.isfinite(weight.sum(dtype=torch.float32))):
                yield key


def _refuse(name: str, why: str) -> None:
    raise UnsupportedModel(f"{name}: {why}; the model is damaged, or of another kind")
