"""The fastest way to run a network here: found by running all of them once, and remembered for the machine.

Which number format is fast cannot be told from a processor's name: bfloat16 is twice as fast as float32 on one that has
units for it, and slower on another that has them too. So every way is tried on a probe, and the choice is noted.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from ..errors import SettingsError
from .base import OnStep
from .device import PRECISIONS, one_thread
from .notes import Notes

BACKENDS = ("torch", "openvino")

_NOTES = Notes("backends.json")
_LEAST_STEPS = 6  # the first layer of a network is like no other; six are a block of most of them
_WARM = 1 / 3  # of the steps that are run, before the clock counts: memory that is new to the process costs time once
_GAIN = 0.95  # a way is worth it where it takes less than this share of the time of any that is nearer to float32


class Way(NamedTuple):
    """One way to run a network.

    Attributes:
        backend: whose kernels, "torch" or "openvino".
        precision: number format, as in `device.PRECISIONS`.
        form: "" for the usual memory layout, "channels-last", or "winograd" for rewritten layers.
    """

    backend: str
    precision: str
    form: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


EXACT = Way("torch", "float32")


def ways(device: torch.device, *, precision: str = "auto", backend: str = "auto") -> list[Way]:
    """What there is to try on a device, the nearest to float32 first.

    Args:
        precision, backend: as in `settings.Hardware`; only those ways.

    Raises:
        SettingsError: there is no such precision or backend, or nothing in it here.
    """
    for name, value, known in (("precision", precision, PRECISIONS), ("backend", backend, BACKENDS)):
        if value != "auto" and value not in known:
            raise SettingsError(f"{name}: {value!r} is not one of auto, {', '.join(known)}")
    cpu = device.type == "cpu"
    found: list[Way] = []
    for name in PRECISIONS:
        if cpu and name == "float16" != precision:  # no processor is fast at it
            continue
        found += [Way("torch", name, "channels-last"), Way("torch", name)]
        if cpu and name == "bfloat16":
            found.append(Way("torch", name, "winograd"))
    if cpu and has_openvino():
        found += [Way("openvino", "float32"), Way("openvino", "bfloat16")]
    chosen = [way for way in found if precision in ("auto", way.precision) and backend in ("auto", way.backend)]
    if chosen:
        return chosen
    if backend == "openvino" and not (cpu and has_openvino()):
        why = (
            "it runs on the CPU only"
            if not cpu
            else 'it is not installed; pip install "tiled-diffusion-upscaler[openvino]"'
        )
        raise SettingsError(f"backend: openvino cannot be used on {device}: {why}")
    raise SettingsError(f"precision: {backend} has no {precision} on {device}; use auto or float32")


@cache
def has_openvino() -> bool:
    """Whether the optional package is installed."""
    try:
        metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return False
    return True


class _Enough(Exception):
    """A run that is being timed has gone far enough, or is far behind."""


def in_turns(
    runs: Mapping[Way, Callable[[OnStep], object]],
    device: torch.device,
    *,
    share: float = 1.0,
    rounds: int = 1,
    patience: float = 1.5,
) -> dict[Way, float]:
    """Seconds of each run, the least of some rounds; one that is far behind the best is stopped and left out.

    On a processor it is the time that it works for us, so that what else it does counts little; best on one thread.

    Args:
        runs: called with an `on_step` that they call now and then.
        share: of the steps after which a run is stopped. What it would take as a whole is then told from the last two
            thirds of these: what is done once in a run would count many times over.
        patience: how many times as long as the best is far behind.
    """
    seconds: dict[Way, float] = {}
    spent = float("inf")
    for _ in range(rounds):
        for way, run in runs.items():
            marks: list[tuple[float, float]] = []
            start = _now(device)

            def stop(
                step: int,
                steps: int,
                start: float = start,
                most: float = patience * spent,
                marks: list[tuple[float, float]] = marks,
            ) -> None:
                now = _now(device) - start
                if step >= max(_WARM * share * steps, _LEAST_STEPS):
                    marks.append((step / steps, now))
                if step >= max(share * steps, 2 * _LEAST_STEPS) or now > most:
                    raise _Enough

            with suppress(_Enough):
                run(stop)
            taken = _now(device) - start
            if taken <= patience * spent:
                spent = min(spent, taken)
                seconds[way] = min(seconds.get(way, float("inf")), _whole(marks, taken) if share < 1 else taken)
    return seconds


def _whole(marks: Sequence[tuple[float, float]], taken: float) -> float:
    """What a run takes as a whole, from when it had come how far; `taken` where it has not told."""
    if len(marks) < 2:
        return taken
    (first, start), (last, end) = marks[0], marks[-1]
    return (end - start) / (last - first)


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    (torch.cuda if device.type == "cuda" else torch.mps).synchronize()
    return time.perf_counter()


def fastest(seconds: Mapping[Way, float]) -> Way:
    """The way that takes the least time; of those that take about the same, the first."""
    chosen, *others = seconds
    for way in others:
        if seconds[way] < _GAIN * seconds[chosen]:
            chosen = way
    return chosen


def recall(device: torch.device, model: str, among: Sequence[Way]) -> Way | None:
    """The choice for a model among these ways on this machine, if it was made."""
    known = _NOTES.get(_key(device, model, among))
    return next((way for way in among if str(way) == known), None)


def remember(device: torch.device, model: str, among: Sequence[Way], choice: Way) -> None:
    """Keep a choice for `recall`."""
    _NOTES.put(_key(device, model, among), str(choice))


def pick_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The number format of a diffusion model: the one that is named, or else what is fast on the device.

    "auto" is float16 on CUDA and MPS; on a processor the faster of float32 and bfloat16 in a convolution.

    Raises:
        SettingsError: there is no such precision.
    """
    if precision == "auto" and device.type in ("cuda", "mps"):
        return torch.float16
    among = [way for way in ways(device, precision=precision, backend="torch") if way.form == "channels-last"]
    if len(among) == 1:
        return PRECISIONS[among[0].precision]
    choice = recall(device, "convolution", among)
    if choice is None:
        with one_thread():
            choice = fastest(in_turns({way: _convolution(way, device) for way in among}, device, rounds=4))
        remember(device, "convolution", among, choice)
    return PRECISIONS[choice.precision]


def _convolution(way: Way, device: torch.device) -> Callable[[OnStep], object]:
    """One as those that most of a diffusion model's time goes into."""
    convolution = torch.nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=PRECISIONS[way.precision])
    convolution.requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    maps = torch.ones(1, 256, 64, 64, device=device, dtype=PRECISIONS[way.precision])
    maps = maps.contiguous(memory_format=torch.channels_last)
    return lambda on_step: convolution(maps)


def _key(device: torch.device, model: str, among: Sequence[Way]) -> str:
    return " | ".join([machine(device), versions(), model, ", ".join(map(str, among))])


def machine(device: torch.device) -> str:
    """What decides about speed: the name of the GPU, or that of the processor and how many cores it has."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()} x{psutil.cpu_count()}" if device.type == "cpu" else f"{device.type} {_processor()}"


@cache
def _processor() -> str:
    """The processor's name; Linux alone hides it in a file, others tell."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def versions() -> str:
    """Of what computes."""
    openvino = f", openvino {metadata.version('openvino')}" if has_openvino() else ""
    return f"torch {torch.__version__}{openvino}"
