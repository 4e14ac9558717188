"""The diffusion stage: img2img on batches of tiles, over the parts of a latent diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ...arrays.types import Image
from ...geometry import Box, Size
from ...options.settings import MixedSampling, Sampling
from ...tiling.noise import field as noise_field
from ...tiling.tiles import Plan
from ...tiling.worker import part_of
from ..base import OnStep, Pending, tile_sides
from ..device import memory_errors
from ..layers import after_each, layers_with_weights
from ..sharing import WHEN_RUN, model_errors
from ..transfer import download, upload
from .components import Components
from .joint import Predict, Windows
from .placed import Placed
from .sampling import Sampler
from .text import Prompt, padded

_BEAUTIFUL, _UGLY = 6.0, 2.5  # aesthetic scores for prompt and negative prompt, as in diffusers' SDXL pipeline


class DiffusionRefiner(Placed):
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
        super().__init__(parts, device=device, dtype=dtype, name=name)
        native = parts.unet.config.get("sample_size")
        self.habits = parts.habits
        self.tile_sides = tile_sides(native * self.multiple if isinstance(native, int) else None)
        self._windows: Windows | None = None

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

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """See `Refiner`. Reduced precision that ends in NaN or infinity is tried again in float32, tile by tile."""
        return [wait() for wait in self.begin(tiles, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)]

    def begin(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Pending]:
        """See `Begins`."""
        if sampling.strength == 0:
            return [tile.copy for tile in tiles]
        sampling = self.habits.settle(sampling)
        joint = self._windows is not None

        def refine(members: list[int], on_step: OnStep) -> list[Pending]:
            own = sampling if joint else sampling.of(members)
            return self._refine([tiles[i] for i in members], [boxes[i] for i in members], own, seed, on_step)

        def finish(index: int, pending: Pending, reduced: bool, on_step: OnStep) -> Image:
            tile = pending()
            if not reduced or np.isfinite(tile).all():
                return tile
            with self._at_work(tiles[:1]), self._in_float32():
                return refine([index], on_step)[0]()

        begun: dict[int, Pending] = {}
        with self._at_work(tiles):
            reduced = self._dtype != torch.float32 and not self._parts.fixed
            groups = self._of_one_length(sampling, len(tiles))
            for number, members in enumerate(groups):
                begun.update(zip(members, refine(members, part_of(on_step, number, len(groups)))))
        if self._device.type == "cuda":
            # without `on_step`, whose owner holds what comes back: a circle would keep the tiles in memory
            return [partial(finish, index, begun[index], reduced, _ignore) for index in range(len(tiles))]
        drawn = [finish(index, begun[index], reduced, on_step) for index in range(len(tiles))]
        return [partial(_given, tile) for tile in drawn]

    @contextmanager
    def _at_work(self, tiles: Sequence[Image]) -> Generator[None, None, None]:
        """Run the network on tiles in the block, while no other thread does. Raises: as a call."""
        height, width = tiles[0].shape[:2]
        joint = self._windows is not None
        what = f"a canvas of {width}x{height} px" if joint else f"a batch of {len(tiles)} tiles of {width}x{height} px"
        clear = memory_errors(self._device, what, "use mode tiles" if joint else "use smaller tiles")
        with model_errors(self.name, "does not run", WHEN_RUN), self._turns.turn(), clear:
            yield

    def _of_one_length(self, sampling: Sampling, count: int) -> list[list[int]]:
        """Which tiles make a batch: those whose prompts are equally long. Padding them would change what the shorter say."""
        if self._encoded is None or self._windows is not None or not isinstance(sampling, MixedSampling):
            return [list(range(count))]
        groups: dict[int, list[int]] = {}
        for index, prompt in enumerate(sampling.prompts):
            groups.setdefault(self._encoded(prompt, negative=False).states.shape[1], []).append(index)
        return list(groups.values())

    @torch.inference_mode()
    def _refine(
        self, tiles: Sequence[Image], boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Pending]:
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
                return upload(np.stack(fields), self._device)

            def tell(step: int, of: int, group: int = group) -> None:
                on_step(group * of + step, len(starts) * of)

            own = sampling if self._windows is not None else sampling.of(range(len(tiles))[some])
            latents += self._sample(base[some], torch.cat(pixels[some]), own, noise, tell)
        self._bring("codec")
        with self._stopped_by(on_step, done=1):
            return [self._image(codec.decode(one[None])) for one in latents]

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
                return self._predictor(sampling.of(members), base, pixels)

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

    @torch.inference_mode()
    def _evaluate(self, tile: Size, count: int) -> None:
        cells = Size(tile.width // self._parts.codec.factor, tile.height // self._parts.codec.factor)
        channels = self._parts.codec.latent_channels
        base = torch.zeros(count, channels, cells.height, cells.width, device=self._device)
        pixels = torch.zeros(count, 3, tile.height, tile.width, device=self._device)
        self._sample(base, pixels, self._dry, lambda stream: torch.zeros_like(base), _ignore)

    def _draw_grey(self, tile: Size) -> None:
        grey = np.full((tile.height, tile.width, 3), 0.5, np.float32)
        for pending in self._refine([grey], [Box(0, 0, *tile)], self._dry, 0, _ignore):
            pending()

    @property
    def _dry(self) -> Sampling:
        return self.habits.settle(Sampling(steps=1))

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
        views = [(text, False) for text in sampling.prompts_of(count)]
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
        return upload(np.array([[height, width, 0, 0, *last]]), self._device)

    def _tensor(self, tile: Image) -> torch.Tensor:
        return upload(tile, self._device).permute(2, 0, 1)[None] * 2 - 1

    def _image(self, pixels: torch.Tensor) -> Pending:
        pixels = torch.where(pixels.isfinite(), pixels, torch.nan)  # clamping would hide infinity
        image = (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
        return download(image.float().contiguous())


def _given(tile: Image) -> Image:
    return tile


def _ignore(step: int, of: int) -> None:
    """Nobody waits for these steps."""
