"""Draws faces anew with GFPGAN or RestoreFormer, which spandrel reads.

GFPGAN: Wang et al. 2021 (https://arxiv.org/abs/2101.04061); RestoreFormer: Wang et al. 2022 (https://arxiv.org/abs/2201.06374).
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from ... import weights
from ...arrays.types import Image
from ...errors import UnsupportedModel
from ..base import OnStep
from ..device import loading, memory_errors, pick_device
from ..gan.read import Network, read_any
from ..layers import after_each, layers_with_weights
from ..sharing import WHEN_RUN, Turns, model_errors


class FaceNetwork:
    """A `FaceRestorer` over a network of spandrel."""

    def __init__(self, network: Network, *, name: str, device: torch.device) -> None:
        """`network` is moved to the device, in place; it runs in float32, which is what these networks are made for."""
        self.name, self.device = name, device
        self._network = network
        self._turns = Turns()
        network.model.eval().requires_grad_(False)
        network.model.to(device=device, dtype=torch.float32)
        self._layers = layers_with_weights(network.model)

    def __call__(self, face: Image, *, on_step: OnStep) -> Image:
        """As in the protocol. A step is one layer of the network."""
        done, total = itertools.count(1), len(self._layers)
        clear = memory_errors(self.device, f"{self.name}: a face", "close other programs, or run it on the CPU")
        with self._turns.turn(), model_errors(self.name, "fails on a face", WHEN_RUN), clear:
            batch = torch.as_tensor(np.ascontiguousarray(face.transpose(2, 0, 1)))[None].to(self.device)
            with torch.inference_mode(), after_each(self._layers, lambda: on_step(min(next(done), total), total)):
                drawn = self._draw(batch)[0]
            return np.ascontiguousarray(drawn.permute(1, 2, 0).float().cpu().numpy())

    def _draw(self, batch: torch.Tensor) -> torch.Tensor:
        """(1, 3, 512, 512) in [0, 1], drawn anew."""
        if self._network.architecture.id != "GFPGAN":
            return self._network(batch)
        # spandrel calls it with other noise each time, and in [0, 1], while it was trained on [-1, 1]
        drawn = self._network.model(batch * 2 - 1, randomize_noise=False)[0]
        return ((drawn + 1) / 2).clamp(0, 1)


def load_restorer(name_or_path: str, *, device: str = "auto") -> FaceNetwork:
    """The face model of that name or file, ready to run.

    Raises:
        WeightsNotFound: there is none.
        UnsupportedModel: the file holds another kind of model.
        SettingsError: no such device.
        OutOfMemory: it does not fit.
    """
    place = pick_device(device.split(",")[0])
    model = weights.get(name_or_path, "face")
    with loading(place, model.name):
        network = read_any(model.path)
        if network.purpose != "FaceSR" or (network.scale, network.input_channels, network.output_channels) != (1, 3, 3):
            raise UnsupportedModel(
                f"{model.path}: this {network.architecture.name} model is not for faces; give GFPGAN or RestoreFormer"
            )
        return FaceNetwork(network, name=model.name, device=place)
