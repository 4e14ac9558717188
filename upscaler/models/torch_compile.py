"""Networks compiled by torch itself, for the device that they run on: slower to start, faster from then on."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
from typing import Any

import torch

from ..errors import SettingsError
from ..text import one_line

_COMPILERS = ("g++", "clang++", "c++", "cl")


def compile_network(network: torch.nn.Module, device: torch.device) -> None:
    """Let a network run compiled, in place, with its hooks as they are; it is compiled when it is first run.

    Raises:
        SettingsError: what that takes is not here; says what. The same from its runs, where compiling it goes wrong.
    """
    missing = _missing(device)
    if missing:
        raise SettingsError(
            f"hardware.compile: {missing} is needed for it on {device} and is not installed; install it, or leave it out"
        )
    from torch._dynamo.exc import TorchDynamoException  # a second, and brought by compiling anyway

    compiled: Any = torch.compile(network.forward)

    @functools.wraps(network.forward)
    def forward(*args: Any, **options: Any) -> Any:
        try:
            return compiled(*args, **options)
        except TorchDynamoException as error:
            raise SettingsError(
                f"hardware.compile: this network cannot be compiled here ({one_line(error)}); leave it out"
            ) from error

    network.forward = forward


def _missing(device: torch.device) -> str:
    """What is not here of that which turns a network into a program for the device; empty where all is."""
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "the package triton-windows" if sys.platform == "win32" else "the package triton"
        if sys.platform == "win32":  # that package brings a compiler along
            return ""
    named = os.environ.get("CXX")
    return "" if any(map(shutil.which, [named] if named else _COMPILERS)) else "a C++ compiler"
