"""The ways to run a super-resolution network: which of them agree with float32, how fast they are, and how it is made to run so."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ... import folders, weights
from ...arrays.types import Image
from ...errors import UnsupportedModel, UpscalerError
from ...text import one_line
from ..backends import EXACT, Way, fastest, in_turns
from ..base import OnStep
from ..compiled import Compiled
from ..device import PRECISIONS, is_out_of_memory, loading
from .architectures import ESRGAN
from .exact import keep_exact
from .network import HALO, HALOS, GanUpscaler, NotFinite
from .read import Network, read_network
from .winograd import rewrite

MEAN_DEVIATION, MAX_DEVIATION = 1, 16
"""How far a way may be from float32 on the probe, in 1/255. The bundled models in bfloat16: mean 0.5, max 5."""

_SECONDS = 0.3  # that a way takes on the probe: enough to tell, and all of them take less than three
_SMALL, _MIDDLE, _LARGE = 32, 96, 320  # sides of probes: for the agreement, a whole run, and a run of the first layers
_NEAR = Way("torch", "bfloat16", "channels-last")


@dataclass
class Trial:
    """How a way did on the probe.

    Attributes:
        upscaler: that runs it; `None` where it does not work.
        problem: why not.
        mean, largest: deviation from float32 in 1/255.
        time: in seconds, to be compared with that of other trials; infinite where it was far behind.
    """

    way: Way
    upscaler: GanUpscaler | None = None
    problem: str = ""
    mean: float = 0.0
    largest: float = 0.0
    time: float = float("inf")


def compare(model: weights.Model, device: torch.device, among: Sequence[Way], *, patience: float = 1.5) -> list[Trial]:
    """Try ways to run a model: those that agree with float32 are timed, the others say why not.

    Args:
        patience: a way that takes so many times as long as the best one is stopped.

    Raises:
        UnsupportedModel: the file holds no super-resolution model that runs.
        OutOfMemory: it does not fit.
    """
    network = read_network(model.path)
    probe = _probe(_SMALL)
    start = time.perf_counter()
    reference = _reference(make(model, device, EXACT, copy.deepcopy(network)), probe, model.path)
    seconds = time.perf_counter() - start
    trials: list[Trial] = []
    for way in among:
        if way.form == "" and way.backend == "torch" and any(_same_format(way, trial) for trial in trials):
            continue
        trials.append(_try(model, device, way, network, probe, reference))
    _time(trials, device, share=_SECONDS / seconds * (_SMALL / _LARGE) ** 2, patience=patience)
    return trials


def _try(
    model: weights.Model, device: torch.device, way: Way, network: Network, probe: Image, reference: Image
) -> Trial:
    """Whether a way works and agrees with the reference."""
    try:
        upscaler = make(model, device, way, copy.deepcopy(network))
        deviation = np.abs(upscaler.forward(probe) - reference) * 255
    except (NotFinite, RuntimeError, ValueError) as error:  # an operation that the device lacks, or a view of a layout
        if isinstance(error, UpscalerError) or is_out_of_memory(error):
            raise
        return Trial(way, problem=one_line(error))
    mean, largest = float(deviation.mean()), float(deviation.max())
    if mean > MEAN_DEVIATION or largest > MAX_DEVIATION:
        return Trial(way, None, "too far from float32", mean, largest)
    return Trial(way, upscaler, "", mean, largest)


def _time(trials: Sequence[Trial], device: torch.device, *, share: float, patience: float) -> None:
    """Fill in the times: of the first layers, on a picture as large as a tile is.

    OpenVINO does not tell its steps, so it is compared with the best of the others on a whole run, on a smaller one.
    """
    working = {trial.way: trial for trial in trials if trial.upscaler is not None}
    own = [way for way in working if way.backend == "torch"]
    others = [way for way in working if way.backend != "torch"]
    if len(own) > 1:
        runs = {way: partial(_run, working[way], _probe(_LARGE)) for way in own}
        for way, seconds in in_turns(runs, device, share=min(share, 1.0), patience=patience).items():
            working[way].time = seconds
    if len(working) > len(own) > 0 or len(others) > 1:
        best = [fastest({way: working[way].time for way in own})] if own else []
        runs = {way: partial(_run, working[way], _probe(_MIDDLE)) for way in [*best, *others]}
        whole = in_turns(runs, device, patience=patience)
        scale = working[best[0]].time / whole[best[0]] if len(own) > 1 else 1.0
        for way, seconds in whole.items():
            working[way].time = seconds * scale


def _run(trial: Trial, picture: Image, on_step: OnStep) -> None:
    assert trial.upscaler is not None
    trial.upscaler.forward(picture, on_step=on_step)


def _same_format(way: Way, trial: Trial) -> bool:
    """Whether a trial of the same number format works, so that the usual layout need not be tried too."""
    return trial.upscaler is not None and trial.way[:2] == way[:2]


def _reference(exact: GanUpscaler, probe: Image, path: Path) -> Image:
    """What the network makes of the probe in float32."""
    try:
        reference = exact.forward(probe)
    except NotFinite:
        raise UnsupportedModel(f"{path}: its output is not finite; the file is damaged") from None
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UnsupportedModel(f"{path}: does not run ({one_line(error)})") from None
    if reference.shape != (probe.shape[0] * exact.scale, probe.shape[1] * exact.scale, 3):
        raise UnsupportedModel(f"{path}: does not enlarge exactly {exact.scale} times")
    return reference


def _probe(side: int) -> Image:
    """A small picture with flat areas, gradients, edges and colours, always the same."""
    y, x = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(5 * x + 3 * y), np.cos(4 * y - 2 * x), np.sin(6 * x * y)], axis=-1)
    stripes = ((2 * x + 3 * y) % 1 < 0.4)[..., None]
    return (0.5 + 0.3 * waves + 0.3 * stripes * np.array((1, 0.5, -1))).clip(0, 1).astype(np.float32)


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
