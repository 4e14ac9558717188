"""The diffusion stage: img2img on batches of tiles, over the parts of a latent diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from ...arrays.types import Image
from ...errors import SettingsError
from ...geometry import Box, Size
from ...options.settings import MixedSampling, Sampling
from ...tiling.noise import field as noise_field
from ...tiling.tiles import Plan
from ...tiling.worker import part_of
from ..base import USUAL, Habits, OnStep, tile_sides
from ..device import convert, free_memory, memory_errors
from ..layers import after_each, layers_with_weights
from ..sharing import WHEN_RUN, Turns, model_errors
from .codec import Codec
from .footprint import CONTROL_MAPS, FEATURE_MAPS
from .joint import Predict, Windows
from .placing import Part, Places
from .sampling import Sampler
from .text import Prompt, padded

_LARGEST_BATCH = 16
_PROMPTS = 64  # encoded ones that are kept
_LARGEST_WAVE = (
    64  # tiles that are encoded, sampled and decoded in turn where parts of the model move: 0.4 GB of pictures
)
_BEAUTIFUL, _UGLY = 6.0, 2.5  # aesthetic scores for prompt and negative prompt, as in diffusers' SDXL pipeline
_DECODER_BYTES = 4 * 256 * 4  # per pixel: four float32 maps of 256 channels, the peak of the SD decoder


@dataclass(frozen=True)
class Components:
    """The parts of a latent diffusion model.

    Attributes:
        unet: the network. `unet(sample, timestep, encoder_hidden_states=...)`; or `unet(sample, timestep, base, strength)` where the model
            is conditioned on the latents of the picture it refines, and gives float32.
        codec: pixels to latents and back.
        scheduler: config of the model's own scheduler.
        text: `text(prompt, negative=...)`; `None` for a model that takes no prompt.
        conditioned: which of the two calls.
        control: `control(sample, timestep, encoder_hidden_states=..., controlnet_cond=pixels)`, a ControlNet for this
            UNet whose hint is the picture itself; `None` without one.
        full_strength: a conditioned model mends the picture however little noise there is, so below this strength what
            it changed is faded in, down to nothing at 0.
        float8: the weights of its network are kept in float8, and it cannot be raised to float32.
        aesthetic: it is told how beautiful the picture is instead of its size (the refiner of SDXL).
        habits: how it is used where the settings leave that open.
        about: family and format in a few words, to be told to the user; empty where there is nothing to tell.
    """

    unet: Any
    codec: Codec
    scheduler: dict[str, Any]
    text: Callable[..., Prompt] | None
    conditioned: bool
    control: Any = None
    full_strength: float = 0.0
    float8: bool = False
    aesthetic: bool = False
    about: str = ""
    habits: Habits = USUAL


class DiffusionRefiner:
    """A `Refiner` over a latent diffusion model: a tile's result is a function of tile, box, sampling and seed."""

    mixes_prompts = True

    def __init__(
        self,
        parts: Components,
        *,
        device: torch.device,
        dtype: torch.dtype,
        name: str,
    ) -> None:
        self.name = name
        self.multiple = parts.codec.factor
        self._parts = parts
        self._device = device
        self._dtype = dtype
        native = parts.unet.config.get("sample_size")
        self.habits = parts.habits
        self.tile_sides = tile_sides(native * self.multiple if isinstance(native, int) else None)
        self._turns = Turns()
        self._windows: Windows | None = None
        self._places: Places | None = None
        self._limit: int | None = None
        # of the encoder, not of a method of ours, which would keep this object and its networks alive
        self._encoded: Callable[..., Prompt] | None = lru_cache(maxsize=_PROMPTS)(parts.text) if parts.text else None

    @property
    def takes_prompt(self) -> bool:
        """Whether a prompt makes any difference."""
        return self._parts.text is not None

    @property
    def about(self) -> str:
        """Family and format of the checkpoint in a few words; empty where there is nothing to tell."""
        return self._parts.about

    def jointly(self, plan: Plan, batch: int) -> DiffusionRefiner:
        """See `Joins`: this refiner for a whole canvas, with the same networks."""
        joint = copy(self)
        joint._windows = Windows(plan, batch=batch, factor=self._parts.codec.factor)
        return joint

    def keep_in_float8(self) -> None:
        """Keep the weights of the network, and of a ControlNet, in float8, from where each layer takes them to its format.

        Raises:
            SettingsError: this kind of network cannot.
        """
        networks = [network for network in (self._parts.unet, self._parts.control) if network is not None]
        if not all(hasattr(network, "enable_layerwise_casting") for network in networks):
            raise SettingsError(f"hardware.storage: {self.name} cannot be kept in float8; use auto")
        for network in networks:
            network.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=self._dtype)
        self._parts = replace(self._parts, float8=True)

    def within(self, limit: int | None, *, low_vram: torch.device | None = None) -> DiffusionRefiner:
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
            networks = [network for network in (self._parts.unet, self._parts.control) if network is not None]
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
        fitting = self._fitting(tile)
        return fitting if self._places is None else _LARGEST_WAVE * bool(fitting)

    def _fitting(self, tile: Size) -> int:
        """How many tiles of that size the network can evaluate at once."""
        pixels = tile.width * tile.height
        places = self._places
        free = free_memory(self._device, self._limit) if places is None else places.room_for("network")
        coding = pixels * _DECODER_BYTES if self._places is None else 0
        largest = 1 if self._device.type == "cpu" else _LARGEST_BATCH
        return int(min(max(free * 0.8 - coding, 0) // self._tile_bytes(tile), largest))

    def _tile_bytes(self, tile: Size) -> int:
        """Bytes that the network takes at work on each tile of a batch."""
        width = int(self._parts.unet.config.get("block_out_channels", (320,))[0])
        cells = tile.width * tile.height // self.multiple**2
        maps = FEATURE_MAPS + (CONTROL_MAPS if self._parts.control is not None else 0)
        return cells * width * maps * self._dtype.itemsize

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """See `Refiner`. Reduced precision that ends in NaN or infinity is tried again in float32, tile by tile."""
        if sampling.strength == 0:
            return [tile.copy() for tile in tiles]
        sampling = self.habits.settle(sampling)
        height, width = tiles[0].shape[:2]
        joint = self._windows is not None
        what = f"a canvas of {width}x{height} px" if joint else f"a batch of {len(tiles)} tiles of {width}x{height} px"
        clear = memory_errors(self._device, what, "use mode tiles" if joint else "use smaller tiles")
        with model_errors(self.name, "does not run", WHEN_RUN), self._turns.turn(), clear:
            refined = list(tiles)

            def refine(members: list[int], on_step: OnStep) -> None:
                own = sampling if joint else _sampling_of(sampling, members)
                drawn = self._refine([tiles[i] for i in members], [boxes[i] for i in members], own, seed, on_step)
                for index, tile in zip(members, drawn):
                    refined[index] = tile

            groups = self._of_one_length(sampling, len(tiles))
            for number, members in enumerate(groups):
                refine(members, part_of(on_step, number, len(groups)))
            broken = [index for index, tile in enumerate(refined) if not np.isfinite(tile).all()]
            if broken and self._dtype != torch.float32 and not self._parts.float8:
                with self._in_float32():
                    for index in broken:
                        refine([index], on_step)
            return refined

    def _of_one_length(self, sampling: Sampling, count: int) -> list[list[int]]:
        """Which tiles make a batch: those whose prompts are equally long. Padding them would change what the shorter say."""
        if self._encoded is None or self._windows is not None or not isinstance(sampling, MixedSampling):
            return [list(range(count))]
        groups: dict[int, list[int]] = {}
        for index, prompt in enumerate(sampling.prompts):
            groups.setdefault(self._encoded(prompt, negative=False).states.shape[1], []).append(index)
        return list(groups.values())

    @contextmanager
    def _in_float32(self) -> Generator[None, None, None]:
        """Evaluate in float32 for a while. An autoencoder that overflowed once would again: it stays in float32."""
        reduced = self._dtype
        networks = [network for network in (self._parts.unet, self._parts.control) if network is not None]
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

    @torch.inference_mode()
    def _refine(
        self, tiles: Sequence[Image], boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """The tiles encoded, then sampled, as many at once as fit where parts of the model move, and then decoded."""
        codec = self._parts.codec
        pixels = [self._tensor(tile) for tile in tiles]
        self._bring("codec")
        with self._stopped_by(on_step):
            base = torch.cat([codec.encode(tile) for tile in pixels])
        cells = [Box(*(side // codec.factor for side in box)) for box in boxes]
        height, width = tiles[0].shape[:2]
        moving = self._places is not None and self._windows is None
        at_once = max(self._fitting(Size(width, height)), 1) if moving else len(tiles)
        starts = range(0, len(tiles), at_once)
        latents: list[torch.Tensor] = []
        for group, start in enumerate(starts):
            some = slice(start, start + at_once)

            def noise(stream: int, cells: Sequence[Box] = cells[some]) -> torch.Tensor:
                fields = [noise_field(seed, stream, box, codec.latent_channels) for box in cells]
                return torch.from_numpy(np.stack(fields)).to(self._device)

            def tell(step: int, of: int, group: int = group) -> None:
                on_step(group * of + step, len(starts) * of)

            own = sampling if self._windows is not None else _sampling_of(sampling, range(len(tiles))[some])
            latents += self._sample(base[some], torch.cat(pixels[some]), own, noise, tell)
        self._bring("codec")
        with self._stopped_by(on_step, done=1):
            return [self._image(codec.decode(one[None])) for one in latents]

    def _bring(self, part: Part) -> None:
        if self._places is not None:
            self._places.bring(part)

    @contextmanager
    def _stopped_by(self, on_step: OnStep, *, done: int = 0) -> Generator[None, None, None]:
        """Let the autoencoder be stopped at each layer while it works on a whole canvas, which may take minutes."""
        network = getattr(self._parts.codec, "network", None)
        if self._windows is None or network is None:
            yield
            return
        with after_each(layers_with_weights(network), lambda: on_step(done, 1)):
            yield

    def _sample(
        self,
        base: torch.Tensor,
        pixels: torch.Tensor,
        sampling: Sampling,
        noise: Callable[[int], torch.Tensor],
        on_step: OnStep,
    ) -> torch.Tensor:
        """The latents redrawn, (B, C, h, w) float32.

        Args:
            base: latents of the tiles, (B, C, h, w).
            pixels: the tiles, (B, 3, H, W) in [-1, 1].
            noise: of the canvas, standard normal, by the number of a stream; shaped as `base`.
        """
        windows = self._windows
        tile = Size(pixels.shape[-1], pixels.shape[-2]) if windows is None else windows.tile
        sampler = self._sampler(sampling, tile)
        sampling = replace(sampling, steps=len(sampler.timesteps))
        calls = 1 if windows is None else len(windows)
        done, evaluations = 0, calls * len(sampler.timesteps)
        if windows is None:
            predict = self._predictor(sampling, base, pixels)
        else:

            def make(members: Sequence[int], base: torch.Tensor, pixels: torch.Tensor) -> Predict:
                return self._predictor(_sampling_of(sampling, members), base, pixels)

            predict = windows.predictor(make, base, pixels, lambda call: on_step(done + call, evaluations))
        sample = sampler.start(base, noise(0))
        for index, timestep in enumerate(sampler.timesteps):
            output = predict(sampler.scale(sample, timestep), timestep)
            sample = sampler.step(output, timestep, sample, noise(index + 1) if sampler.stochastic else None)
            done += calls
            on_step(done, evaluations)
        if sampling.strength < self._parts.full_strength:
            sample = torch.lerp(base, sample, sampling.strength / self._parts.full_strength)
        return sample

    def _sampler(self, sampling: Sampling, tile: Size) -> Any:
        """What takes the latents of tiles of that size from noise to clean ones: a `Sampler`, or its like."""
        return Sampler(
            sampling.scheduler,
            self._parts.scheduler,
            strength=sampling.strength,
            steps=sampling.steps,
            device=self._device,
        )

    def _predictor(
        self, sampling: Sampling, base: torch.Tensor, pixels: torch.Tensor
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """(sample, timestep) -> the network's output in float32, guided by the prompts where there are any.

        To be called once for each of `sampling.steps`, in their order.
        """
        unet, control = self._parts.unet, self._parts.control
        if self._parts.conditioned:
            return lambda sample, timestep: unet(sample, timestep, base, sampling.strength)
        prompts, views = self._prompts(sampling, len(base), guided=sampling.guidance > 1)
        states, added = prompts.states, None
        if prompts.pooled is not None:
            pooled = prompts.pooled
            ids = torch.cat([self._sizes(pixels, index > 0).expand(len(base), -1) for index in range(views)])
            added = {"text_embeds": pooled.to(self._dtype), "time_ids": ids.to(self._dtype)}

        prompted = {"encoder_hidden_states": states, "added_cond_kwargs": added}
        hint = ((pixels + 1) / 2).to(self._dtype).repeat(views, 1, 1, 1)

        step = 0

        def residuals(inputs: torch.Tensor, timestep: torch.Tensor) -> dict[str, Any]:
            """What the ControlNet adds to the UNet's skip connections and to its middle, in the steps in which it acts."""
            nonlocal step
            start, end = step / sampling.steps, (step + 1) / sampling.steps
            step += 1
            acts = start >= sampling.control_start and end <= sampling.control_end
            if control is None or sampling.control_scale == 0 or not acts:
                return {}
            scale = sampling.control_scale
            down, middle = control(
                inputs, timestep, controlnet_cond=hint, conditioning_scale=scale, return_dict=False, **prompted
            )
            return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

        def predict(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            inputs = sample.to(self._dtype).repeat(views, 1, 1, 1)
            output = unet(inputs, timestep, **prompted, **residuals(inputs, timestep)).sample.float()
            if views == 1:
                return output
            wanted, unwanted = output.chunk(2)
            return unwanted + sampling.guidance * (wanted - unwanted)

        return predict

    def _prompts(self, sampling: Sampling, count: int, *, guided: bool) -> tuple[Prompt, int]:
        """What a batch of so many tiles is told, in one, and of how many views: the prompts, then the negative one."""
        encoded = self._encoded
        assert encoded is not None
        views = [(text, False) for text in _prompts_of(sampling, count)]
        if guided:
            views += [(sampling.negative_prompt, True)] * count
        distinct = list(dict.fromkeys(views))
        made = padded([encoded(text, negative=negative) for text, negative in distinct], encoded)
        found = dict(zip(distinct, made))
        states = torch.cat([found[view].states for view in views]).to(self._dtype)
        pooled = [summary for view in views if (summary := found[view].pooled) is not None]
        return Prompt(states, torch.cat(pooled).to(self._dtype) if pooled else None), len(views) // count

    def _sizes(self, pixels: torch.Tensor, negative: bool) -> torch.Tensor:
        """What SDXL is told beside the prompt: each tile is a whole picture, from its upper left corner on."""
        height, width = pixels.shape[-2:]
        last = ([_UGLY] if negative else [_BEAUTIFUL]) if self._parts.aesthetic else [height, width]
        return torch.tensor([[height, width, 0, 0, *last]], device=self._device)

    def _tensor(self, tile: Image) -> torch.Tensor:
        return torch.from_numpy(tile).permute(2, 0, 1)[None].to(self._device) * 2 - 1

    def _image(self, pixels: torch.Tensor) -> Image:
        pixels = torch.where(pixels.isfinite(), pixels, torch.nan)  # clamping would hide infinity
        image = (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
        return np.ascontiguousarray(image.float().cpu().numpy())


def _bring_network(places: Places, module: torch.nn.Module, inputs: Any) -> None:
    places.bring("network")


def _encoded_there(text: Callable[..., Prompt], places: Places, prompt: str, *, negative: bool = False) -> Prompt:
    """What a text encoder makes of a prompt, on the device that it is brought to."""
    places.bring("text")
    return text(prompt, negative=negative)


def _sampling_of(sampling: Sampling, members: Sequence[int]) -> Sampling:
    """The sampling of some tiles of a batch."""
    if not isinstance(sampling, MixedSampling):
        return sampling
    return replace(sampling, prompts=tuple(sampling.prompts[index] for index in members))


def _prompts_of(sampling: Sampling, count: int) -> tuple[str, ...]:
    """The prompt of each tile of a batch."""
    return sampling.prompts if isinstance(sampling, MixedSampling) else (sampling.prompt,) * count
