"""Settings of the second stage: which model redraws the tiles, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

from ..errors import SettingsError
from .loras import entries
from .regions import regions
from .spec import Group, Spec

Scheduler = Literal["auto", "euler", "euler_a", "ddim", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm"]


@dataclass(frozen=True, kw_only=True)
class Sampling(Group):
    """How a tile is redrawn by the diffusion model."""

    prompt: Annotated[
        str, Spec.of("what the picture shows; models without a text encoder ignore it", "--prompt", "-p")
    ] = ""
    negative_prompt: Annotated[str, Spec.of("what the picture must not show; needs guidance above 1", "--negative")] = (
        ""
    )
    strength: Annotated[
        float, Spec.of("how much is redrawn: 0 nothing, 1 everything", "--strength", low=0, high=1, step=0.01)
    ] = 0.25
    steps: Annotated[
        int,
        Spec.of(
            "sampling steps for each tile; 0 is auto: what the model needs at this strength",
            "--steps",
            low=0,
            high=200,
            step=1,
            auto=True,
        ),
    ] = 0
    guidance: Annotated[
        float,
        Spec.of(
            "classifier-free guidance; 1 is off and twice as fast, 0 is auto: what suits the model",
            "--guidance",
            low=0,
            high=30,
            step=0.5,
            auto=True,
        ),
    ] = 0.0
    scheduler: Annotated[Scheduler, Spec.of("sampling method; auto is what suits the model", "--scheduler")] = "auto"
    control_scale: Annotated[
        float,
        Spec.of(
            "how strongly the ControlNet holds on to the enlarged picture; with PiSA-SR, how strongly the input's flaws are "
            "removed",
            "--control-scale",
            low=0,
            high=2,
            step=0.05,
        ),
    ] = 1.0
    control_start: Annotated[
        float,
        Spec.of("the ControlNet acts from this part of a tile's steps on", "--control-start", low=0, high=1, step=0.05),
    ] = 0.0
    control_end: Annotated[
        float,
        Spec.of("the ControlNet acts up to this part of a tile's steps", "--control-end", low=0, high=1, step=0.05),
    ] = 1.0

    def of(self, members: Sequence[int]) -> Sampling:
        """That of some tiles of a batch."""
        return self

    def prompts_of(self, count: int) -> tuple[str, ...]:
        """The prompt of each tile of a batch of so many."""
        return (self.prompt,) * count


@dataclass(frozen=True, kw_only=True)
class MixedSampling(Sampling):
    """Of a batch whose tiles have prompts of their own, for a refiner whose attribute `mixes_prompts` is true.

    Attributes:
        prompts: one for each tile, in joint mode of the plan; `prompt` is not used.
    """

    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        """It is made of a `Sampling`, which has been checked."""

    def of(self, members: Sequence[int]) -> MixedSampling:
        return replace(self, prompts=tuple(self.prompts[index] for index in members))

    def prompts_of(self, count: int) -> tuple[str, ...]:
        return self.prompts


@dataclass(frozen=True, kw_only=True)
class Diffusion(Sampling):
    """The second stage: which model redraws the tiles, and how."""

    model: Annotated[
        str,
        Spec.of(
            "diffusion model: a name, a .safetensors or .gguf file, a folder in diffusers format, a one-step model's file, a hub "
            "id, or none",
            "--model",
            "-m",
        ),
    ] = "pocket"
    vae: Annotated[
        str,
        Spec.of(
            "autoencoder: a name, a file (TAESD too), a folder in diffusers format, or auto, the model's own", "--vae"
        ),
    ] = "auto"
    lora: Annotated[
        str,
        Spec.of(
            "LoRA for the diffusion model: a name or a file, and its weight after a colon; several separated by semicolons",
            "--lora",
            repeated=True,
        ),
    ] = ""
    embedding: Annotated[
        str,
        Spec.of(
            "textual inversion: a name or a file, whose name is its word in the prompt; several separated by semicolons",
            "--embedding",
            repeated=True,
        ),
    ] = ""
    clip_skip: Annotated[
        int,
        Spec.of(
            "which layer of the text encoder to use, counted from the last; SDXL uses at least the second",
            "--clip-skip",
            low=1,
            high=12,
            step=1,
        ),
    ] = 1
    allow_pickle: Annotated[
        bool, Spec.of("also read .ckpt files: only their weights, no code in them is run", "--allow-pickle")
    ] = False
    base: Annotated[
        str,
        Spec.of(
            "the model that lends what another lacks, by name, folder or hub id: Stable Diffusion 2.1-base for PiSA-SR and OSEDiff, "
            "one in diffusers format for a file of Flux or SD 3; auto is sd-2-1-base, or the first of that family among your models",
            "--base",
        ),
    ] = "auto"
    control: Annotated[
        str,
        Spec.of(
            "ControlNet that sees the tile itself: a name, a file, a folder in diffusers format, a hub id, or none; its "
            "weight after a colon, several separated by semicolons",
            "--control",
            repeated=True,
        ),
    ] = "none"
    tile_prompt: Annotated[
        str,
        Spec.of(
            'prompts for parts of the picture: a file, or lines such as "0,0,50,100: a barn" (left, top, right, bottom in '
            'percent) or "2,1 of 3x2: a hill"',
            "--tile-prompt",
            repeated=True,
            lines=True,
        ),
    ] = ""
    prompt_everywhere: Annotated[
        bool,
        Spec.of(
            "give every tile the whole prompt; otherwise plain tiles do not get its subject, the words before the first "
            "comma",
            "--prompt-everywhere",
        ),
    ] = False
    seed: Annotated[int, Spec.of("same seed, same picture", "--seed", low=0, high=2**63 - 1, step=1)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        entries(self.lora)  # raises where a weight is out of range
        entries(self.control, option="diffusion.control")
        regions(self.tile_prompt)  # raises where a line is no region
        if self.control_start > self.control_end:
            raise SettingsError(
                f"diffusion.control_start: {self.control_start:g} is above diffusion.control_end {self.control_end:g}; lower it "
                "or raise diffusion.control_end"
            )

    @property
    def sampling(self) -> Sampling:
        return Sampling(**{item.name: getattr(self, item.name) for item in fields(Sampling)})
