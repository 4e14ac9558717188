"""Where a model runs, in which number format, how much memory is free there, and what to say when it was too little."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Generator
from contextlib import contextmanager

import psutil
import torch

from .. import memory
from ..errors import OutOfMemory, SettingsError
from .sharing import GATE

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def available_devices() -> list[str]:
    """Names of the devices of this machine, the one that "auto" takes first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name: "auto" is the first of CUDA, MPS and CPU that there is, "cuda" is "cuda:0".

    Raises:
        SettingsError: this machine has no such device; says which it has.
    """
    available = available_devices()
    wanted = {"auto": available[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in available:
        raise SettingsError(f"device: {name!r} is not available; this machine has {', '.join(available)} (or use auto)")
    return torch.device(wanted)


def free_memory(device: torch.device, limit: int | None = None) -> int:
    """Bytes that can still be allocated on the device; on the CPU within the limits of a container.

    Args:
        limit: bytes of the device that this process may take in all.
    """
    free = _free_memory(device)
    return free if limit is None else max(min(free, limit - _taken_memory(device)), 0)


def _taken_memory(device: torch.device) -> int:
    """Bytes of the device that this process has taken."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    return psutil.Process().memory_info().rss


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return memory.free_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out: torch has a class for CUDA only, others are told by their text."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


@contextmanager
def memory_errors(device: torch.device, what: str, remedy: str) -> Generator[None]:
    """Run the block; memory that runs out in it becomes `OutOfMemory`, and what the block had allocated is free again.

    Args:
        what: subject of the message, as in "a tile of 512x512".
        remedy: what to do, as in "use a smaller tile".

    Raises:
        OutOfMemory: with both in one line.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they would keep the tensors of the failed step alive
        if device.type == "cuda":
            torch.cuda.empty_cache()
        free = free_memory(device) / 2**30
        raise OutOfMemory(f"{what} does not fit into the memory of {device} ({free:.1f} GiB free): {remedy}") from None


def release_memory() -> None:
    """Give memory that is cached and not used back to the system: that of the devices, and of the C library on Linux."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    memory.return_freed_memory()


@contextmanager
def one_thread() -> Generator[None]:
    """Run the block on one thread of the processor: over small pieces of work several would only wait for each other.

    The number belongs to the whole process, so no other thread loads or runs a model meanwhile.
    """
    with GATE.loading():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def _quiet() -> Generator[None]:
    """Keep libraries from printing while the block runs; what is wrong with a model is said by its error."""
    levels = {name: logging.getLogger(name).level for name in ("diffusers", "transformers")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def loading(device: torch.device, name: str) -> Generator[None]:
    """Load the model of that name in the block: one at a time in this process, and memory that runs out said in one line.

    See `upscaler.models.sharing` for what would go wrong otherwise.

    Raises:
        OutOfMemory: the model does not fit.
    """
    remedy = "close other programs, choose a smaller model, or use another device"
    with one_thread(), _quiet(), memory_errors(device, f"the model {name}", remedy):
        yield


def convert(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give a module another number format, in place and whole, or not at all where memory runs out.

    By torch's plain call, since that of diffusers' classes warns.
    """
    before = next((weight.dtype for weight in module.parameters()), dtype)
    try:
        torch.nn.Module.to(module, dtype)
    except BaseException:
        torch.nn.Module.to(module, before)
        raise
