"""A super-resolution network, made to run in one of the ways that there are."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import torch

from ... import folders, weights
from ..backends import EXACT, Way
from ..compiled import Compiled
from ..device import PRECISIONS, loading
from .architectures import ESRGAN
from .exact import keep_exact
from .network import HALO, HALOS, GanUpscaler
from .read import Network, read_network
from .winograd import rewrite

_NEAR = Way("torch", "bfloat16", "channels-last")


def make(model: weights.Model, device: torch.device, way: Way, network: Network | None = None) -> GanUpscaler:
    """The upscaler that runs the model in that way.

    Args:
        network: of the model's file, if it was read already; changed.

    Raises:
        RuntimeError, and others: it cannot be run so.
    """
    network = network or read_network(model.path)
    if not {"bfloat16": network.supports_bfloat16, "float16": network.supports_half}.get(way.precision, True):
        raise ValueError(f"the architecture is not made for {way.precision}")
    if way.form == "winograd" and not rewrite(network.model):
        raise ValueError("it has no dense blocks")
    if way == _NEAR and device.type == "cpu" and isinstance(network.model, ESRGAN):
        keep_exact(network.model)
    if way.backend == "openvino":
        compiled = Compiled(
            network.model,
            channels=network.input_channels,
            precision=way.precision,
            file=compiled_file(model, way),
        )
        vars(network)["_model"] = compiled
    return GanUpscaler(
        network,
        name=model.name,
        halo=halo_of(model, network),
        device=device,
        dtype=PRECISIONS[way.precision] if way.backend == "torch" else torch.float32,
        layout=torch.channels_last if way.backend == "torch" and way.form else torch.contiguous_format,
        exact=partial(_exact, model, device) if way.precision != "float32" else None,
    )


def _exact(model: weights.Model, device: torch.device) -> GanUpscaler:
    with loading(device, model.name):
        return make(model, device, EXACT)


def halo_of(model: weights.Model, network: Network) -> int:
    return model.halo if model.halo is not None else HALOS.get(network.architecture.id, HALO)


def identity(model: weights.Model) -> str:
    """What changes whenever the model's file does."""
    if model.bundled:
        return f"{model.name} {next(iter(model.files.values())).sha256[:16]}"
    stat = model.path.stat()
    return f"{model.path} {stat.st_size} {stat.st_mtime_ns}"


def compiled_file(model: weights.Model, way: Way) -> Path:
    """Where OpenVINO's own form of the network is kept."""
    digest = hashlib.sha256(f"{identity(model)} {way}".encode()).hexdigest()[:16]
    return folders.state_folder() / "openvino" / f"{digest}.blob"
