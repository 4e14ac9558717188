"""Settings of the result: how large it is, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from ..errors import SettingsError
from ..geometry import MAX_PIXELS, MOST_PIXELS, Size
from .spec import Group, Spec

Format = Literal["auto", "png", "jpeg", "webp", "tiff", "avif", "dzi"]


@dataclass(frozen=True, kw_only=True)
class Target(Group):
    """How large the result is: a factor, unless a width, a height or a number of megapixels says otherwise."""

    scale: Annotated[float, Spec.of("enlarge by this factor", "--scale", "-s", low=0.5, high=16, step=0.5)] = 4.0
    width: Annotated[
        int | None,
        Spec.of("width of the result; the height follows unless given", "--width", low=1, high=131072, unit="px"),
    ] = None
    height: Annotated[
        int | None,
        Spec.of("height of the result; the width follows unless given", "--height", low=1, high=131072, unit="px"),
    ] = None
    megapixels: Annotated[
        float | None,
        Spec.of("size of the result in megapixels, shape kept", "--megapixels", low=0.001, high=4096, unit="MP"),
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
class Output(Group):
    """How the result is written."""

    format: Annotated[
        Format, Spec.of("file format; auto follows the file's name, dzi is deep zoom for the web", "--format", "-f")
    ] = "auto"
    quality: Annotated[int, Spec.of("quality of lossy formats", "--quality", low=1, high=100, step=1)] = 95
    bit_depth: Annotated[
        Literal[0, 8, 16],
        Spec.of("bits for each channel; 16 needs PNG or TIFF, 0 is that of the input where possible", "--bit-depth"),
    ] = 0
    dither: Annotated[bool, Spec.of("dither when rounding to 8 bits", "--dither")] = True
    metadata: Annotated[bool, Spec.of("keep EXIF, XMP, IPTC, text and settings in the file", "--metadata")] = True
    gps: Annotated[bool, Spec.of("keep the place where a photograph was taken", "--gps")] = True
    mark_ai: Annotated[
        bool, Spec.of("say in the file's XMP that AI changed the picture (IPTC Digital Source Type)", "--mark-ai")
    ] = False
    overwrite: Annotated[bool, Spec.of("replace an existing file", "--overwrite")] = False
    max_pixels: Annotated[
        int,
        Spec.of(
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
