"""A network of torch run by OpenVINO on the processor. The package is optional and imported when it is used."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from .. import folders
from .base import OnStep

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_POLL = 100  # milliseconds from a wish to stop to its being seen
_EXAMPLE = 32


class Compiled(torch.nn.Module):
    """Stands in for the network that it was made of: (1, C, H, W) float32 on the CPU to what that one gives."""

    def __init__(self, network: torch.nn.Module, *, channels: int, precision: str, file: Path | None = None) -> None:
        """
        Args:
            network: in float32 on the CPU.
            channels: of its input.
            precision: float32 or bfloat16.
            file: where the compiled network is kept, and taken from if it is there.

        Raises:
            RuntimeError, and whatever else OpenVINO has for a network that it cannot run.
        """
        super().__init__()
        openvino: Any = importlib.import_module("openvino")
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = None
        if file is not None:
            with suppress(OSError, RuntimeError):  # not there, or of another version or machine
                compiled = core.import_model(file.read_bytes(), "CPU", options)
        if compiled is None:
            compiled = core.compile_model(_converted(network, channels), "CPU", options)
        self._compiled: Any = compiled
        self._request = compiled.create_infer_request()
        self._on_step: OnStep | None = None

    def save(self, file: Path) -> None:
        """Keep the compiled network for the next time; it is not missed where this fails."""
        with suppress(OSError, RuntimeError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with folders.whole_or_absent(file) as stream:
                stream.write(self._compiled.export_model().getvalue())

    @contextmanager
    def reporting(self, on_step: OnStep) -> Generator[None, None, None]:
        """Call `on_step` now and then during a run in the block, so that it can be stopped."""
        self._on_step = on_step
        try:
            yield
        finally:
            self._on_step = None

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        request = self._request
        request.start_async({0: batch.contiguous().numpy()})
        try:
            while not request.wait_for(_POLL):
                if self._on_step is not None:
                    self._on_step(0, 1)
        except BaseException:
            request.cancel()
            with suppress(RuntimeError):  # that it was cancelled
                request.wait()
            raise
        if self._on_step is not None:
            self._on_step(1, 1)
        return torch.from_numpy(request.get_output_tensor(0).data.copy())


def _converted(network: torch.nn.Module, channels: int) -> Any:
    """The network as a model of OpenVINO, for pictures of any size."""
    openvino: Any = importlib.import_module("openvino")
    example = torch.zeros(1, channels, _EXAMPLE, _EXAMPLE)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and warns of branches that depend on the size
        traced: Any = torch.jit.trace(network.eval(), example, check_trace=False)
        return openvino.convert_model(traced, input=[1, channels, -1, -1], example_input=example)
