"""Compiled networks draw what they draw otherwise, and what is missing for it is said in one line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch._dynamo.exc import TorchDynamoException  # noqa: E402

from upscaler.errors import SettingsError  # noqa: E402
from upscaler.models import load_refiner, torch_compile  # noqa: E402
from upscaler.models.diffusion.pocket import PocketUNet  # noqa: E402
from upscaler.models.torch_compile import compile_network  # noqa: E402

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What there is on a machine: programs and packages."""
    found: set[str] = {"g++", "triton"}
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in found else None)
    monkeypatch.setattr(torch_compile.importlib.util, "find_spec", lambda name: name if name in found else None)
    return found


@pytest.mark.parametrize(
    ("device", "system", "missing", "words"),
    [
        (CPU, "linux", "g++", r"a C\+\+ compiler is needed for it on cpu and is not installed"),
        (GPU, "linux", "g++", r"a C\+\+ compiler is needed for it on cuda:0"),
        (GPU, "linux", "triton", "the package triton is needed for it on cuda:0"),
        (GPU, "win32", "triton", "the package triton-windows is needed"),
    ],
)
def test_what_is_missing_is_said(
    here: set[str], device: Any, system: str, missing: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.remove(missing)
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(SettingsError, match=rf"^hardware\.compile: {words}.*; install it, or leave it out$"):
        compile_network(torch.nn.Linear(2, 2), device)


def test_a_compiler_that_is_named_counts(here: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda call: call)
    here.remove("g++")
    here.add("/opt/mine")
    monkeypatch.setenv("CXX", "/opt/mine")
    compile_network(torch.nn.Linear(2, 2), CPU)
    monkeypatch.setenv("CXX", "/opt/other")
    with pytest.raises(SettingsError, match="compiler"):
        compile_network(torch.nn.Linear(2, 2), CPU)


def test_the_network_of_a_refiner_is_compiled_when_that_is_asked_for(
    here: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []

    def compile(call: Callable[..., Any]) -> Callable[..., Any]:
        compiled.append(call)
        return call

    monkeypatch.setattr(torch, "compile", compile)
    load_refiner("pocket", device="cpu", precision="float32")
    assert not compiled
    refiner: Any = load_refiner("pocket", device="cpu", precision="float32", compile=True)
    assert [call.__self__ for call in compiled] == [refiner._parts.unet]


def test_what_cannot_be_compiled_says_so(here: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise TorchDynamoException("no room for\nPython.h")

    monkeypatch.setattr(torch, "compile", lambda call: fail)
    network = torch.nn.Linear(2, 2)
    compile_network(network, CPU)
    with pytest.raises(SettingsError, match=r"^hardware\.compile: this network cannot be compiled here \(.*Python.h"):
        network(torch.zeros(1, 2))


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="no C++ compiler")
def test_it_draws_the_same_and_keeps_its_hooks() -> None:
    torch.manual_seed(0)
    network = PocketUNet(block_out_channels=(32,), detail_width=8).eval().requires_grad_(False)
    seen: list[int] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    latents = torch.rand(2, 192, 8, 8)

    def draw() -> Any:
        with torch.inference_mode():
            return network(latents, torch.tensor(100), latents, 0.5)

    expected = draw()
    compile_network(network, CPU)
    torch.testing.assert_close(draw(), expected, atol=1 / 255 / 10, rtol=0)
    assert seen == [2, 2]
