"""Loads a super-resolution network in the fastest way that agrees with float32."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from ... import weights
from ...errors import SettingsError, UpscalerError
from ...memory import Memory
from ..backends import Way, fastest, recall, remember, ways
from ..base import Enlarger
from ..compiled import Compiled
from ..device import is_out_of_memory, loading, pick_device
from .network import AT_WORK, GanUpscaler
from .read import read_network
from .ways import Trial, compare, compiled_file, halo_of, identity, make

_WEIGHT_BYTES = 7  # for each weight, as the bundled ESRGAN takes it where its blocks are rewritten


def load_upscaler(
    name_or_path: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto", backend: str = "auto"
) -> GanUpscaler:
    """The super-resolution model of that name or path, ready to run.

    The first time, every way to run it is tried on a small picture; the fastest of those that agree with float32 is
    taken and remembered for this machine.

    Args:
        name_or_path: as for `upscaler.weights.get`.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, float32, bfloat16 or float16; only ways in this number format.
        backend: auto, torch or openvino; only its ways.

    Raises:
        SettingsError: no such device, precision or backend, or the model does not work in it.
        WeightsNotFound: there is no such model.
        ChecksumMismatch: a bundled file is damaged.
        UnsupportedModel: the file holds no super-resolution model.
        OutOfMemory: the model does not fit.
    """
    place = pick_device(device)
    among = ways(place, precision=precision, backend=backend)
    model = weights.get(name_or_path, "gan")
    weights.verify(model)
    with loading(place, model.name):
        known = recall(place, identity(model), among)
        if known is not None:
            try:
                return make(model, place, known)
            except (RuntimeError, ValueError) as error:  # it went well once; whatever has changed, the others are tried
                if isinstance(error, UpscalerError) or is_out_of_memory(error):
                    raise
        chosen = _choose(model, place, among, compare(model, place, among))
        if chosen is None:
            raise SettingsError(
                f"precision: {model.name} does not work in {precision} on {place}; use auto or float32"
                if backend == "auto"
                else f"backend: {model.name} does not work with {backend} in this precision; use auto"
            )
        assert chosen.upscaler is not None
        return chosen.upscaler


def benchmark(name_or_path: str | os.PathLike[str], *, device: str = "auto") -> tuple[list[Trial], Trial | None]:
    """How each way to run a model does on a device, none stopped early; and the fastest, which is then remembered.

    Raises: as `load_upscaler`.
    """
    place = pick_device(device)
    among = ways(place)
    model = weights.get(name_or_path, "gan")
    with loading(place, model.name):
        trials = compare(model, place, among, patience=float("inf"))
        return trials, _choose(model, place, among, trials)


def _choose(model: weights.Model, device: torch.device, among: Sequence[Way], trials: Sequence[Trial]) -> Trial | None:
    """The fastest trial, if any way works; remembered, with what OpenVINO has compiled."""
    working = {trial.way: trial for trial in trials if trial.upscaler is not None}
    if not working:
        return None
    chosen = working[fastest({way: trial.time for way, trial in working.items()})]
    remember(device, identity(model), among, chosen.way)
    assert chosen.upscaler is not None
    network = chosen.upscaler.network.model
    if isinstance(network, Compiled):
        network.save(compiled_file(model, chosen.way))
    return chosen


def describe(model: weights.Model) -> Enlarger:
    """What a plan needs to know of a network that is in no manifest; its file is read once. Raises: as `load_upscaler`."""
    key = identity(model)
    if key not in _DESCRIBED:
        with loading(torch.device("cpu"), model.name):
            network = read_network(model.path)
        count = sum(weight.numel() for weight in network.model.parameters())
        memory = Memory(_WEIGHT_BYTES * count, AT_WORK.get(network.architecture.id, max(AT_WORK.values())))
        _DESCRIBED[key] = Enlarger(network.scale, halo_of(model, network), memory)
    return _DESCRIBED[key]


_DESCRIBED: dict[str, Enlarger] = {}
