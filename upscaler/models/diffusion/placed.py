"""A latent diffusion model on a device: how much of its memory it takes, and how it does with less."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import torch

from ...errors import SettingsError
from ...geometry import Size
from ..backends import machine, versions
from ..device import convert, free_memory, is_out_of_memory
from ..notes import Notes
from ..sharing import Turns
from ..torch_compile import compile_network
from .components import Components
from .dry_run import Cost, Meter, measure, meter_of
from .footprint import CODING_BYTES, CONTROL_MAPS, FEATURE_MAPS
from .placing import Part, Places
from .text import Prompt

Own = TypeVar("Own", bound="Placed")

_LARGEST_BATCH, _LARGEST_ON_A_CPU = 16, 1
_RESERVE = 0.1  # of the free memory that stays free: an allocator cannot use every gap
_UNSURE = 1.125  # what is estimated is taken for so many times as much
_LARGEST_WAVE = 64  # tiles that are coded and sampled in turn where parts of the model move: 0.4 GB of pictures
_PROMPTS = 64  # encoded ones that are kept
_NOTES = Notes("batches.json")


class Placed:
    """The parts of a model, all on its device or there in turn.

    Attributes:
        name: what to call the model.
        multiple: pixels per cell of its latents.
    """

    def __init__(self, parts: Components, *, device: torch.device, dtype: torch.dtype, name: str) -> None:
        self.name = name
        self.multiple = parts.codec.factor
        self._parts = parts
        self._device = device
        self._dtype = dtype
        self._places: Places | None = None
        self._limit: int | None = None
        self._turns = Turns()
        self._costs: dict[Size, Cost] = {}
        # of the encoder, not of a method of ours, which would keep this object and its networks alive
        self._encoded: Callable[..., Prompt] | None = lru_cache(maxsize=_PROMPTS)(parts.text) if parts.text else None

    @property
    def _networks(self) -> list[Any]:
        return [network for network in (self._parts.unet, self._parts.control) if network is not None]

    def keep_in_float8(self) -> None:
        """Keep the weights of the network, and of a ControlNet, in float8, from where each layer takes them to its format.

        Those of a GGUF file that are packed already stay as they are.

        Raises:
            SettingsError: this kind of network cannot.
        """
        if self._parts.fixed:
            return
        networks = self._networks
        if not all(hasattr(network, "enable_layerwise_casting") for network in networks):
            raise SettingsError(f"hardware.storage: {self.name} cannot be kept in float8; use auto")
        for network in networks:
            network.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=self._dtype)
        self._parts = replace(self._parts, fixed=True)

    def compile(self) -> None:
        """Have the network, and a ControlNet, compiled where they run. Raises: SettingsError, as `compile_network`."""
        for network in self._networks:
            compile_network(network, self._device)

    def within(self: Own, limit: int | None, *, low_vram: torch.device | None = None) -> Own:
        """Let this refiner take no more than some memory, and have on its device only what is at work; itself.

        Args:
            limit: bytes of its device that this process may take; `None` is what is free.
            low_vram: the device that its parts come to in turn, from main memory where they are; `None` is not to move them.
        """
        codec: Any = self._parts.codec
        self._limit = limit
        if hasattr(codec, "limit"):
            codec.limit = limit
        if low_vram is not None:
            self._device = low_vram
            networks = self._networks
            parts = {
                "text": list(getattr(self._parts.text, "networks", ())),
                "network": networks,
                "codec": [getattr(codec, "network", codec)],
            }
            self._places = places = Places(parts, low_vram, partial(free_memory, limit=limit))
            for network in networks:
                network.register_forward_pre_hook(partial(_bring_network, places))
            text = self._parts.text
            if text is not None:
                self._encoded = lru_cache(maxsize=_PROMPTS)(partial(_encoded_there, text, places))
        return self

    def batch_size(self, tile: Size) -> int:
        """See `Refiner`; on a CPU one tile at a time is as fast as many. A whole wave, where parts of the model move."""
        with nullcontext() if meter_of(self._device) is None else self._turns.turn():
            fitting = self._fitting(tile)
        return fitting if self._places is None else _LARGEST_WAVE * bool(fitting)

    def _fitting(self, tile: Size) -> int:
        """How many tiles of that size the network can evaluate at once."""
        places, meter = self._places, meter_of(self._device)
        cost = self._estimate(tile) if meter is None else self._measured(tile, meter)
        free = free_memory(self._device, self._limit) if places is None else places.room_for("network")
        largest = _LARGEST_ON_A_CPU if self._device.type == "cpu" else _LARGEST_BATCH
        return min(cost.batch(free * (1 - _RESERVE)), largest)

    def _measured(self, tile: Size, meter: Meter) -> Cost:
        """What a batch takes by a dry run, the first time on this machine."""
        if tile not in self._costs:
            weights = sum(weight.numel() for network in self._networks for weight in network.parameters())
            kind = f"{self._dtype} {weights} guidance {self._parts.habits.guidance:g}"
            kind += f"{' packed' * self._parts.fixed}{' in turns' * (self._places is not None)}"
            key = " | ".join([machine(self._device), versions(), self.name, kind, str(tile)])
            cost = Cost.read(_NOTES.get(key))
            if cost is None:
                run = partial(self._evaluate, tile)
                alone = partial(self._draw_grey, tile) if self._places is None else partial(run, 1)
                try:
                    cost = measure(run, alone, meter)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    return self._estimate(tile)
                _NOTES.put(key, str(cost))
            self._costs[tile] = cost
        return self._costs[tile]

    def _evaluate(self, tile: Size, count: int) -> None:
        """Evaluate the network once on a batch of so many tiles."""
        raise NotImplementedError

    def _draw_grey(self, tile: Size) -> None:
        """Draw one tile, with all that belongs to it."""
        raise NotImplementedError

    def _estimate(self, tile: Size) -> Cost:
        coding = tile.width * tile.height * CODING_BYTES if self._places is None else 0
        each = round(self._tile_bytes(tile) * _UNSURE)
        fixed = round(coding * _UNSURE)
        return Cost(fixed + each, each, fixed)

    def _tile_bytes(self, tile: Size) -> int:
        """Bytes that the network takes at work on each tile of a batch."""
        width = int(self._parts.unet.config.get("block_out_channels", (320,))[0])
        cells = tile.width * tile.height // self.multiple**2
        maps = FEATURE_MAPS + (CONTROL_MAPS if self._parts.control is not None else 0)
        return cells * width * maps * self._dtype.itemsize

    @contextmanager
    def _in_float32(self) -> Generator[None, None, None]:
        """Evaluate in float32 for a while. An autoencoder that overflowed once would again: it stays in float32."""
        reduced = self._dtype
        networks = self._networks
        try:
            self._parts.codec.to(torch.float32)
            for network in networks:
                convert(network, torch.float32)
            self._dtype = torch.float32
            yield
        finally:
            self._dtype = reduced
            for network in networks:
                convert(network, reduced)

    def _bring(self, part: Part) -> None:
        if self._places is not None:
            self._places.bring(part)


def _bring_network(places: Places, module: torch.nn.Module, inputs: Any) -> None:
    places.bring("network")


def _encoded_there(text: Callable[..., Prompt], places: Places, prompt: str, *, negative: bool = False) -> Prompt:
    """What a text encoder makes of a prompt, on the device that it is brought to."""
    places.bring("text")
    return text(prompt, negative=negative)
