"""The host's img2img as a `Refiner`: batches of tiles through `process_images`, with noise that belongs to the canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from modules import devices, processing, shared
from numpy.typing import NDArray
from PIL import Image as Pillow

from ....upscaler.arrays.quantise import quantise, to_float
from ....upscaler.arrays.types import Image
from ....upscaler.errors import Cancelled, OutOfMemory, UpscalerError
from ....upscaler.geometry import Box, Size
from ....upscaler.models.base import Habits, OnStep
from ....upscaler.models.device import is_out_of_memory
from ....upscaler.options.settings import Sampling
from ....upscaler.tiling.grid import DEFAULT_SIDES
from ....upscaler.tiling.noise import field
from .networks import raise_if_interrupted

_QUIET = {
    "img2img_color_correction": False,  # ours is the wavelet filter
    "save_init_img": False,
    "show_progress_every_n_steps": 10**6,  # the live preview stays the canvas and does not become a tile
}


class TileJob(processing.StableDiffusionProcessingImg2Img):
    """A copy of the user's img2img job for some tiles: sampler, prompts, styles, LoRA and other scripts are theirs.

    Only the pictures differ, and what would spoil a tile. The user's own job is never changed.
    """

    boxes: Sequence[Box] = ()
    canvas_seed: int = 0

    @classmethod
    def of(cls, job: processing.StableDiffusionProcessingImg2Img) -> TileJob:
        copy = cls.__new__(cls)
        copy.__dict__.update(vars(job))
        copy.extra_generation_params = dict(job.extra_generation_params)
        copy.override_settings = dict(job.override_settings)
        return copy

    def on(self, tiles: Sequence[Image], boxes: Sequence[Box], *, strength: float, seed: int) -> TileJob:
        """This job on other tiles."""
        job = self.of(self)
        job.boxes, job.canvas_seed = boxes, seed
        job.init_images = [Pillow.fromarray(quantise(tile, dither=False)) for tile in tiles]
        job.width, job.height = job.init_images[0].size
        job.batch_size, job.n_iter = len(tiles), 1
        job.seed = [_box_seed(seed, box) for box in boxes]
        job.denoising_strength = strength
        job.resize_mode = 0
        job.image_mask = job.latent_mask = job.mask = None
        job.restore_faces = job.tiling = False
        job.do_not_save_samples = job.do_not_save_grid = True
        job.override_settings_restore_afterwards = True
        job.override_settings.update(_QUIET)
        return job

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """As the host samples, with noise of the canvas in the place of its own."""
        self.rng = CanvasNoise(self)
        return super().sample(*args, **kwargs)


class CanvasNoise:
    """What the host draws noise from, for the start and for each step of an ancestral sampler.

    The variation seed is mixed in as the host does it, by an angle.
    """

    def __init__(self, job: TileJob) -> None:
        self._channels, height, width = cast("Any", job.rng).shape  # the host's own, which this one replaces
        x, y = job.width // width, job.height // height
        self._cells = [
            Box(box.left // x, box.top // y, box.left // x + width, box.top // y + height) for box in job.boxes
        ]
        self._mix = [(job.canvas_seed, math.cos(job.subseed_strength * math.pi / 2))]
        if job.subseed_strength:
            self._mix.append((_variation(job), math.sin(job.subseed_strength * math.pi / 2)))
        self._draws = 0

    def next(self) -> torch.Tensor:
        noise = np.stack([self._field(box) for box in self._cells])
        self._draws += 1
        return torch.from_numpy(noise).to(shared.device)

    def _field(self, box: Box) -> NDArray[np.float32]:
        fields = (np.float32(weight) * field(seed, self._draws, box, self._channels) for seed, weight in self._mix)
        return sum(fields)  # type: ignore[return-value]


class HostRefiner:
    """A `Refiner` over the user's job. Of the sampling only the strength is taken, the rest is the job's own.

    Args:
        job: what to do with the tiles; its `subseed` has been drawn, if it has a `subseed_strength`.
    """

    multiple = 8
    tile_sides = DEFAULT_SIDES  # checkpoints of all families come through the same call

    def __init__(self, job: TileJob) -> None:
        self.job = job
        self.habits = Habits(evaluations=partial(_evaluations, job))
        self.last: TileJob | None = None

    def batch_size(self, tile: Size) -> int:
        """The tab's batch size."""
        return max(int(self.job.batch_size), 1)

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        """See `Refiner`. The host shows its steps itself; here they are reported when the batch is done.

        Raises:
            Cancelled: the user pressed Interrupt; nothing of this batch is kept.
        """
        raise_if_interrupted()
        images = self._process(self.job.on(tiles, boxes, strength=sampling.strength, seed=seed))
        for step in range(self.job.steps):
            on_step(step + 1, self.job.steps)
        return images or [tile.copy() for tile in tiles]

    def _process(self, job: TileJob) -> list[Image]:
        """The job's pictures, NaN where they are broken; none where the user pressed Skip."""
        broken = np.full((job.height, job.width, 3), np.nan, np.float32)
        unset = [key for key in _QUIET if key not in shared.opts.data]
        try:
            processed = processing.process_images(job)
        except devices.NansException:
            return [broken] * len(job.boxes)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"a batch of {job.batch_size} tiles of {job.width}x{job.height} px does not fit"
            ) from None
        finally:
            for key in unset:  # the host puts back only what the user has set
                shared.opts.data.pop(key, None)
        if shared.state.interrupted:  # in mid-batch: these pictures are unfinished
            raise Cancelled("interrupted")
        if shared.state.skipped:
            shared.state.skipped = False
            return []
        self.last = job
        images = processed.images[processed.index_of_first_image :][: len(job.boxes)]
        for image in images:
            if image.size != (job.width, job.height):
                raise UpscalerError(
                    f"a tile of {job.width}x{job.height} px came back as {image.width}x{image.height}; "
                    "turn off other scripts that change the size"
                )
        pixels = [to_float(np.asarray(image.convert("RGB"))) for image in images]
        return [image if image.any() else broken for image in pixels]  # without its check, the host draws NaN black


def _evaluations(job: TileJob, sampling: Sampling) -> int:
    """Of a tile, as the host counts its steps."""
    fixed = shared.opts.img2img_fix_steps  # it then takes all of them, whatever the strength
    steps = job.steps if fixed else int(min(sampling.strength, 0.999) * job.steps) + 1
    return steps * (2 if job.cfg_scale > 1 else 1)


def _box_seed(seed: int, box: Box) -> int:
    """A seed of 32 bits for the samplers that draw noise by themselves (SDE)."""
    return int(np.random.SeedSequence((seed, box.left, box.top)).generate_state(1)[0])


def _variation(job: TileJob) -> int:
    """The seed that the variation is drawn from; other than all of the canvas."""
    return int(np.random.SeedSequence((job.canvas_seed, int(job.subseed))).generate_state(1, np.uint64)[0])
