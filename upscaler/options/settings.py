"""All settings of a run, once: frozen dataclasses whose fields carry their range, unit, flags and help.

`options(Settings)` is the table that the command line, the app and the plugins build their controls from. A
`Settings` is complete and valid or does not exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Annotated, Any, Literal, cast

from ..errors import SettingsError
from ..geometry import MAX_PIXELS, MOST_PIXELS, Order, SeamMode, Size, WrapMode
from ..text import did_you_mean, shown
from .loras import entries
from .spec import Group, Option, Spec, options_of

Scheduler = Literal["auto", "euler", "euler_a", "ddim", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Backend = Literal["auto", "torch", "openvino"]
Format = Literal["auto", "png", "jpeg", "webp", "tiff", "avif", "dzi"]


def _spec(help: str, *flags: str, **limits: Any) -> Spec:
    return Spec(help, flags, **limits)


@dataclass(frozen=True, kw_only=True)
class Target(Group):
    """How large the result is: a factor, unless a width, a height or a number of megapixels says otherwise."""

    scale: Annotated[float, _spec("enlarge by this factor", "--scale", "-s", low=0.5, high=16, step=0.5)] = 4.0
    width: Annotated[
        int | None,
        _spec("width of the result; the height follows unless given", "--width", low=1, high=131072, unit="px"),
    ] = None
    height: Annotated[
        int | None,
        _spec("height of the result; the width follows unless given", "--height", low=1, high=131072, unit="px"),
    ] = None
    megapixels: Annotated[
        float | None,
        _spec("size of the result in megapixels, shape kept", "--megapixels", low=0.001, high=4096, unit="MP"),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.megapixels is not None and (self.width or self.height):
            raise SettingsError("target.megapixels: there is a width or a height too; give one or the other")

    def of(self, source: Size) -> Size:
        """The size that a picture of size `source` is enlarged to.

        Raises:
            SettingsError: this would be a factor below 0.5 or above 16 on one of the sides.
        """
        width, height = source
        if self.width and self.height:
            size = Size(self.width, self.height)
        elif self.width:
            size = Size(self.width, max(round(height * self.width / width), 1))
        elif self.height:
            size = Size(max(round(width * self.height / height), 1), self.height)
        else:
            factor = (self.megapixels * 1e6 / (width * height)) ** 0.5 if self.megapixels else self.scale
            size = Size(max(round(width * factor), 1), max(round(height * factor), 1))
        factors = [new / old for new, old in zip(size, source)]
        if any(not old * 0.5 - 1 <= new <= old * 16 for new, old in zip(size, source)):
            factor = max(factors) if max(factors) > 16 else min(factors)
            raise SettingsError(
                f"size {size}: this is {factor:.3g} times the picture's {source}; 0.5 to 16 times is allowed, so choose a "
                f"{'smaller' if factor > 1 else 'larger'} one"
            )
        return size


@dataclass(frozen=True, kw_only=True)
class Gan(Group):
    """The first stage: super-resolution by a convolutional network."""

    model: Annotated[
        str, _spec("super-resolution model: a name, a .safetensors or .pth file, or none", "--gan", "-n")
    ] = "realesrgan-x4plus"
    tile: Annotated[
        int,
        _spec(
            "side of the pieces in which the input is enlarged, without their context",
            "--gan-tile",
            low=32,
            high=4096,
            step=32,
            unit="px",
        ),
    ] = 512


@dataclass(frozen=True, kw_only=True)
class Sampling(Group):
    """How a tile is redrawn by the diffusion model."""

    prompt: Annotated[
        str, _spec("what the picture shows; models without a text encoder ignore it", "--prompt", "-p")
    ] = ""
    negative_prompt: Annotated[str, _spec("what the picture must not show; needs a guidance above 1", "--negative")] = (
        ""
    )
    strength: Annotated[
        float, _spec("how much is redrawn: 0 nothing, 1 everything", "--strength", low=0, high=1, step=0.01)
    ] = 0.25
    steps: Annotated[
        int,
        _spec(
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
        _spec(
            "classifier-free guidance; 1 is off and twice as fast, 0 is auto: what suits the model",
            "--guidance",
            low=0,
            high=30,
            step=0.5,
            auto=True,
        ),
    ] = 0.0
    scheduler: Annotated[Scheduler, _spec("sampling method; auto: what suits the model", "--scheduler")] = "auto"
    control_scale: Annotated[
        float,
        _spec(
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
        _spec("the ControlNet acts from this part of a tile's steps on", "--control-start", low=0, high=1, step=0.05),
    ] = 0.0
    control_end: Annotated[
        float,
        _spec("the ControlNet acts up to this part of a tile's steps", "--control-end", low=0, high=1, step=0.05),
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class Diffusion(Sampling):
    """The second stage: which model redraws the tiles, and how."""

    model: Annotated[
        str,
        _spec(
            "diffusion model: a name, a .safetensors file, a folder in diffusers format, a one-step model's file, a hub id, "
            "or none",
            "--model",
            "-m",
        ),
    ] = "pocket"
    vae: Annotated[
        str,
        _spec(
            "autoencoder: a name, a file (TAESD too), a folder in diffusers format, or auto: the model's own", "--vae"
        ),
    ] = "auto"
    lora: Annotated[
        str,
        _spec(
            "LoRA for the diffusion model: a name or a file, and its weight after a colon; several by semicolons",
            "--lora",
            repeated=True,
        ),
    ] = ""
    embedding: Annotated[
        str,
        _spec(
            "textual inversion: a name or a file, whose name is its word in the prompt; several by semicolons",
            "--embedding",
            repeated=True,
        ),
    ] = ""
    clip_skip: Annotated[
        int,
        _spec(
            "which layer of the text encoder is taken, counted from the last; SDXL takes the second at least",
            "--clip-skip",
            low=1,
            high=12,
            step=1,
        ),
    ] = 1
    allow_pickle: Annotated[
        bool, _spec("read a .ckpt too: its weights only, no code in it is run", "--allow-pickle")
    ] = False
    base: Annotated[
        str,
        _spec(
            "what PiSA-SR and OSEDiff are a change to: a name, a folder or a hub id of Stable Diffusion 2.1-base; auto: "
            "sd-2-1-base among your models",
            "--base",
        ),
    ] = "auto"
    control: Annotated[
        str,
        _spec(
            "ControlNet that sees the tile itself: a name, a file, a folder in diffusers format, a hub id, or none; its "
            "weight after a colon, several by semicolons",
            "--control",
            repeated=True,
        ),
    ] = "none"
    seed: Annotated[int, _spec("same seed, same picture", "--seed", low=0, high=2**63 - 1, step=1)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        entries(self.lora)  # raises where a weight is out of range
        entries(self.control, option="diffusion.control")
        if self.control_start > self.control_end:
            raise SettingsError(
                f"diffusion.control_start: {self.control_start:g} is above diffusion.control_end {self.control_end:g}; lower it "
                "or raise diffusion.control_end"
            )

    @property
    def sampling(self) -> Sampling:
        return Sampling(**{item.name: getattr(self, item.name) for item in fields(Sampling)})


@dataclass(frozen=True, kw_only=True)
class Tiles(Group):
    """How the picture is cut."""

    tile: Annotated[
        str,
        _spec(
            "largest side of a tile in px, COLUMNSxROWS, or auto for what suits the model",
            "--tile",
            "-t",
            pattern=r"auto|[1-9]\d{0,6}|[1-9]\d{0,6}x[1-9]\d{0,6}",
        ),
    ] = "auto"
    overlap: Annotated[
        int,
        _spec(
            "context that neighbouring tiles share, at most half of a tile",
            "--overlap",
            low=0,
            high=2048,
            step=8,
            unit="px",
        ),
    ] = 64
    feather: Annotated[
        int,
        _spec(
            "width of the cross-fade between tiles, at most the overlap",
            "--feather",
            low=0,
            high=2048,
            step=8,
            unit="px",
        ),
    ] = 32
    order: Annotated[
        Order, _spec("independent: all tiles from one picture; chess, linear: later tiles see finished ones", "--order")
    ] = "independent"
    wrap: Annotated[
        WrapMode,
        _spec("the picture goes on at its other side: x for panoramas, both for seamless textures", "--wrap"),
    ] = "none"
    batch: Annotated[
        int, _spec("tiles at once; 0 is as many as fit into memory", "--batch", low=0, high=1024, step=1, auto=True)
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feather > self.overlap:
            raise SettingsError(
                f"tiles.feather: {self.feather} px is above the overlap of {self.overlap} px; lower it or raise tiles.overlap"
            )
        if self.tile.isdigit() and not 64 <= int(self.tile) <= 8192:
            raise SettingsError(
                f"tiles.tile: {self.tile} px is outside 64 to 8192; use a number in it, COLUMNSxROWS or auto"
            )
        if self.tile.isdigit() and self.overlap * 2 > int(self.tile):
            raise SettingsError(
                f"tiles.overlap: {self.overlap} px is above half of the tile of {self.tile} px; lower it or raise tiles.tile"
            )


@dataclass(frozen=True, kw_only=True)
class Seams(Group):
    """The pass that redraws the joints between tiles."""

    mode: Annotated[SeamMode, _spec("where joints are redrawn; auto is only where they can be seen", "--seams")] = (
        "auto"
    )
    strength: Annotated[
        float, _spec("how much is redrawn along the joints", "--seam-strength", low=0, high=1, step=0.01)
    ] = 0.2
    width: Annotated[
        int, _spec("width of the band around a joint", "--seam-width", low=8, high=1024, step=8, unit="px")
    ] = 64
    steps: Annotated[
        int,
        _spec(
            "sampling steps along the joints; 0 is auto: what the model needs at this strength",
            "--seam-steps",
            low=0,
            high=200,
            step=1,
            auto=True,
        ),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class Faces(Group):
    """The last stage: faces drawn anew by a network that was trained on nothing else."""

    strength: Annotated[
        float, _spec("restore faces: 0 not at all, 1 as the face model draws them", "--faces", low=0, high=1, step=0.05)
    ] = 0.0
    model: Annotated[
        str,
        _spec("which face model: a name, or a file of GFPGAN or RestoreFormer", "--face-model"),
    ] = "gfpgan-1.4"


@dataclass(frozen=True, kw_only=True)
class Wavelet(Group):
    """What keeps the result true to the input: colour, noise, and the input's own pixels."""

    color: Annotated[
        float, _spec("lock colour and tone to the enlarged picture", "--wavelet-color", low=0, high=1, step=0.05)
    ] = 1.0
    denoise: Annotated[
        float,
        _spec(
            "remove high-frequency noise that the diffusion pass added", "--wavelet-denoise", low=0, high=1, step=0.05
        ),
    ] = 0.5
    consistency: Annotated[
        float, _spec("make the result, scaled down, match the input", "--consistency", low=0, high=1, step=0.05)
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class Output(Group):
    """How the result is written."""

    format: Annotated[
        Format, _spec("file format; auto follows the file's name, dzi is deep zoom for the web", "--format", "-f")
    ] = "auto"
    quality: Annotated[int, _spec("quality of lossy formats", "--quality", low=1, high=100, step=1)] = 95
    bit_depth: Annotated[
        Literal[0, 8, 16],
        _spec("bits for each channel; 16 needs PNG or TIFF, 0 is that of the input where possible", "--bit-depth"),
    ] = 0
    dither: Annotated[bool, _spec("dither when rounding to 8 bits", "--dither")] = True
    metadata: Annotated[bool, _spec("keep EXIF, XMP, IPTC, text and settings in the file", "--metadata")] = True
    gps: Annotated[bool, _spec("keep the place where a photograph was taken", "--gps")] = True
    mark_ai: Annotated[
        bool, _spec("say in the file's XMP that AI changed the picture (IPTC Digital Source Type)", "--mark-ai")
    ] = False
    overwrite: Annotated[bool, _spec("replace an existing file", "--overwrite")] = False
    max_pixels: Annotated[
        int,
        _spec(
            "refuse pictures with more megapixels than this",
            "--max-pixels",
            low=1,
            high=MOST_PIXELS // 1_000_000,
            unit="MP",
        ),
    ] = MAX_PIXELS // 1_000_000

    @property
    def pixel_limit(self) -> int:
        """`max_pixels` in pixels."""
        return self.max_pixels * 1_000_000

    @property
    def for_save(self) -> dict[str, Any]:
        """These settings as the arguments of `upscaler.save` that they are."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "max_pixels"}


@dataclass(frozen=True, kw_only=True)
class Hardware(Group):
    """What it runs on."""

    device: Annotated[
        str,
        _spec(
            "auto, cpu, cuda, cuda:N, mps, or several GPUs as cuda:0,cuda:1",
            "--device",
            pattern=r"auto|cpu|mps|cuda(:\d+)?|cuda:\d+(,cuda:\d+)+",
        ),
    ] = "auto"
    precision: Annotated[
        Precision, _spec("number format of the models; auto is the fastest here, found by trying", "--precision")
    ] = "auto"
    backend: Annotated[
        Backend,
        _spec("library that runs the super-resolution model; auto is the fastest that is installed", "--backend"),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a run depends on beside the picture."""

    target: Target = field(default_factory=Target)
    gan: Gan = field(default_factory=Gan)
    diffusion: Diffusion = field(default_factory=Diffusion)
    tiles: Tiles = field(default_factory=Tiles)
    seams: Seams = field(default_factory=Seams)
    faces: Faces = field(default_factory=Faces)
    wavelet: Wavelet = field(default_factory=Wavelet)
    output: Output = field(default_factory=Output)
    hardware: Hardware = field(default_factory=Hardware)

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Settings from option names, such as `Settings.of(scale=2, strength=0.3, seam_width=48)`.

        A name is that of the command line's long flag with underscores; all others keep their default.

        Raises:
            SettingsError: an unknown name (with the nearest known one), or a value out of its range.
        """
        return cls().but(**values)

    def but(self, **values: Any) -> Settings:
        """These settings with some changed, by option names as in `Settings.of`."""
        table = {option.name: option for option in options()}
        groups: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in table:
                raise SettingsError(f"{name}: no such option; {did_you_mean(name, table)}")
            group, key = table[name].path.split(".")
            groups.setdefault(group, {})[key] = value
        return replace(self, **{group: replace(getattr(self, group), **changes) for group, changes in groups.items()})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of `to_dict`; missing fields keep their default, unknown ones are refused."""
        table = {option.path: option for option in options()}
        flat: dict[str, Any] = {}
        for group, content in values.items():
            if not isinstance(content, Mapping):
                raise SettingsError(f"{group}: {shown(content)} is not a group of settings")
            for key, value in cast("Mapping[str, Any]", content).items():
                path = f"{group}.{key}"
                if path not in table:
                    raise SettingsError(f"{path}: no such setting; {did_you_mean(path, table)}")
                flat[table[path].name] = value
        return cls.of(**flat)

    def value(self, option: Option) -> Any:
        """The value of that option in these settings."""
        group, key = option.path.split(".")
        return getattr(getattr(self, group), key)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain values, group by group."""
        result: dict[str, dict[str, Any]] = {}
        for option in options():
            group, key = option.path.split(".")
            result.setdefault(group, {})[key] = self.value(option)
        return result

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)


def with_names(message: str, name: Callable[[Option], str]) -> str:
    """The message of an error with each option, which errors call by its path, called as a front end calls it.

    >>> with_names("tiles.tile: 20 px is too small; raise it", lambda option: option.spec.flags[0])
    '--tile: 20 px is too small; raise it'
    """
    table = {option.path: option for option in options()}
    return re.sub(r"\b[a-z]+\.[a-z_]+\b", lambda m: name(table[m[0]]) if m[0] in table else m[0], message)


@cache
def options() -> tuple[Option, ...]:
    """The table of all settings, in the order of the groups and their fields."""
    groups = (item.default_factory for item in fields(Settings))
    return tuple(option for group in groups for option in options_of(cast(type, group)))
