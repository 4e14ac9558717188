"""The diffusion stage in ComfyUI: tiles through the host's own sampler, with its models, LoRAs and patches."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import comfy.sample
import numpy as np
import torch
from comfy import model_management

from ....upscaler.arrays.types import Image
from ....upscaler.geometry import Box, Size
from ....upscaler.models.base import OnStep
from ....upscaler.models.device import memory_errors
from ....upscaler.models.layers import after_each, layers_with_weights
from ....upscaler.options.settings import Sampling
from .conditioning import Cutter, Group
from .noise import CanvasNoise
from .pictures import Array, mask_under
from .sampling import Inputs

_LARGEST_BATCH = 16
_SPARE = 0.8  # part of the free memory that a batch may be planned for


class HostRefiner:
    """A `Refiner` over the host's sampler: a tile's result is a function of tile, box, sampling and seed."""

    def __init__(
        self,
        inputs: Inputs,
        *,
        source: Size,
        canvas: Size,
        index: int = 0,
        ring: int = 0,
        mask: Array | None = None,
        watcher: OnStep = lambda step, of: None,
    ) -> None:
        """
        Args:
            source, canvas: sizes of the picture that came in and of the one that the tiles lie in.
            index: which picture of a batch this is.
            ring: how many pixels at the sides of a tile are held as they are, for the model to see but not to change.
            mask: (h, w, 1) of any size over the canvas, 1 where tiles may change, for the sampler: elsewhere
                it holds the latents as they are. `None` is everywhere.
            watcher: told of each step before the engine is, at once.
        """
        self.multiple, self.tile_sides = inputs.multiple, inputs.tile_sides
        self._inputs = inputs
        self._device: torch.device = inputs.model.load_device
        self._canvas = canvas
        self._cutter = Cutter(inputs.positive, inputs.negative, source, canvas, inputs.cell, index)
        self._ring = ring // inputs.cell
        self._mask = mask
        self._watcher = watcher

    def batch_size(self, tile: Size) -> int:
        """See `Refiner`; on a CPU one tile at a time is as fast as many."""
        if self._device.type == "cpu":
            return 1
        model, cell = self._inputs.model, self._inputs.cell
        channels = model.get_model_object("latent_format").latent_channels
        each = model.memory_required([2, channels, tile.height // cell, tile.width // cell])
        free = max(
            model_management.get_free_memory(self._device),
            model_management.get_total_memory(self._device) - model.model_size(),  # the host makes room by itself
        )
        return int(min(free * _SPARE // each, _LARGEST_BATCH))

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """See `Refiner`. The host's interruption comes through as it is."""
        if sampling.strength == 0:
            return [tile.copy() for tile in tiles]
        sampling = replace(sampling, steps=max(sampling.steps, 1))  # the nodes always say how many
        what = f"a batch of {len(tiles)} tiles of {tiles[0].shape[1]}x{tiles[0].shape[0]} px"
        with memory_errors(self._device, what, "use smaller tiles"), self._interruptible():
            return self._refine(tiles, boxes, sampling, seed, on_step)

    @contextmanager
    def _interruptible(self) -> Generator[None, None, None]:
        """Let the host's interruption be seen at each layer of the networks, where an evaluation takes seconds."""
        inputs = self._inputs
        networks = [inputs.model.get_model_object("diffusion_model"), getattr(inputs.vae, "first_stage_model", None)]
        slow = self._device.type == "cpu"
        layers = [
            layer
            for network in networks
            if isinstance(network, torch.nn.Module) and slow
            for layer in layers_with_weights(network)
        ]
        with after_each(layers, model_management.throw_exception_if_processing_interrupted):
            yield

    @torch.inference_mode()
    def _refine(
        self, tiles: Sequence[Image], boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        result = list(tiles)
        masks = [self._mask_under(box) for box in boxes]
        every = list(range(len(tiles)))
        alone = self._inputs.sampler_name == "dpm_adaptive"  # its steps would be those of the whole batch
        batches = [[number] for number in every] if alone else [every]
        groups = [
            replace(group, tiles=[batch[place] for place in group.tiles])
            for batch in batches
            for group in self._cutter.groups([boxes[number] for number in batch])
        ]
        for number, group in enumerate(groups):

            def step(done: int, of: int, number: int = number) -> None:
                self._watcher(number * of + min(done, of), len(groups) * of)
                on_step(number * of + min(done, of), len(groups) * of)

            redrawn = self._sample(
                np.stack([tiles[i] for i in group.tiles]),
                [boxes[i] for i in group.tiles],
                [masks[i] for i in group.tiles],
                group,
                sampling,
                seed,
                step,
            )
            for index, image in zip(group.tiles, redrawn):
                result[index] = image
        return result

    def _sample(
        self,
        tiles: Array,
        boxes: list[Box],
        masks: list[Array | None],
        group: Group,
        sampling: Sampling,
        seed: int,
        on_step: OnStep,
    ) -> Array:
        inputs, cell = self._inputs, self._inputs.cell
        latents = torch.cat([self._encode(tile) for tile in tiles])
        latents = comfy.sample.fix_empty_latent_channels(inputs.model, latents)
        cells = [Box(*(side // cell for side in box)) for box in boxes]
        noise = CanvasNoise(seed, cells, latents.shape, self._device)

        def callback(step: int, denoised: Any, x: Any, total: int) -> None:
            model_management.throw_exception_if_processing_interrupted()
            on_step(step + 1, total)

        samples = comfy.sample.sample_custom(
            inputs.model,
            noise.draw().cpu(),
            inputs.cfg,
            inputs.sampler(noise),
            inputs.sigmas(sampling),
            group.positive,
            group.negative,
            latents,
            noise_mask=self._noise_mask(cells, masks, latents.ndim),
            callback=callback,
            disable_pbar=True,
            seed=seed % 2**64,
        )
        return np.stack([self._decode(sample, tiles.shape[1:]) for sample in samples])

    def _encode(self, tile: Image) -> torch.Tensor:
        """Latents of a tile, a batch of one: the host's autoencoders of video take a batch for the frames of one."""
        model_management.throw_exception_if_processing_interrupted()
        return self._inputs.vae.encode(torch.from_numpy(tile)[None])

    def _decode(self, latents: torch.Tensor, shape: tuple[int, ...]) -> Image:
        model_management.throw_exception_if_processing_interrupted()
        batch = latents[None]
        if self._device.type == "cpu" and batch.ndim == 4:  # pictures to encode lie this way already
            batch = batch.contiguous(memory_format=torch.channels_last)
        pixels = self._inputs.vae.decode(batch).float().cpu()
        pixels = torch.where(pixels.isfinite(), pixels, torch.nan).clamp(0, 1)  # clamping alone would hide infinity
        return np.ascontiguousarray(pixels.reshape(*shape[:2], -1)[..., :3].numpy())

    def _mask_under(self, box: Box) -> Array | None:
        return None if self._mask is None else mask_under(self._mask, box, self._canvas)

    def _noise_mask(self, cells: list[Box], masks: list[Array | None], dimensions: int) -> torch.Tensor | None:
        """(batch, 1, height, width), 0 in cells that keep what they have; `None` if there are none."""
        if not self._ring and all(mask is None for mask in masks):
            return None
        layers: list[torch.Tensor] = []
        for box, mask in zip(cells, masks):
            layer = torch.ones(1, 1, box.size.height, box.size.width)
            if mask is not None:  # a cell is redrawn if any of its pixels is
                pixels = torch.from_numpy(mask[None, ..., 0])
                layer[0] = torch.nn.functional.adaptive_max_pool2d(pixels, layer.shape[2:])
            if self._ring:
                end = Size(*(-(-side // self._inputs.cell) for side in self._canvas))
                layer[..., : self._ring * (box.top > 0), :] = 0
                layer[..., : self._ring * (box.left > 0)] = 0
                layer[..., box.size.height - self._ring * (box.bottom < end.height) :, :] = 0
                layer[..., box.size.width - self._ring * (box.right < end.width) :] = 0
            layers.append(layer)
        stacked = torch.cat(layers)
        return stacked if dimensions == 4 else stacked[:, :, None]  # with the dimension of frames
