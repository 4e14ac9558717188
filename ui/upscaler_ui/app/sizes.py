"""The ways to say how large a result is, and what each of them means as options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upscaler.errors import SettingsError
from upscaler.geometry import Size
from upscaler.options.settings import Target

FACTORS = {"×2": 2.0, "×4": 4.0, "×8": 8.0}
SIDES = {"4K": 3840, "8K": 7680}
"""Pixels of the longer side."""

PRINT, CUSTOM = "Print", "Custom"
WAYS = (*FACTORS, *SIDES, PRINT, CUSTOM)
FACTOR, PIXELS, MEGAPIXELS = "Factor", "Pixels", "Megapixels"
CUSTOM_WAYS = (FACTOR, PIXELS, MEGAPIXELS)

_INCH = 2.54  # centimetres


def target_options(
    way: str, custom: str, given: Mapping[str, Any], paper: tuple[Any, Any, Any], source: Size | None
) -> dict[str, Any]:
    """The size as options.

    Args:
        way, custom: one of `WAYS`, and one of `CUSTOM_WAYS`.
        given: the values of the options scale, width, height and megapixels, some of which may be `None`.
        paper: width and height in centimetres, either of which may be missing, and dpi.
        source: of the picture, whose longer side 4K and 8K speak of; `None` takes it to be the width.

    Raises:
        SettingsError: a field that counts is empty.
    """
    if way in FACTORS:
        return {"scale": FACTORS[way]}
    if way in SIDES:
        tall = source is not None and source.height > source.width
        return {"height" if tall else "width": SIDES[way]}
    if way == PRINT:
        width, height, dpi = paper
        if not (width or height) or not dpi:
            raise SettingsError(
                "size on paper: incomplete; fill in a width or a height in cm, and the resolution in dpi"
            )
        return {key: round(side / _INCH * dpi) for key, side in (("width", width), ("height", height)) if side}
    if custom == PIXELS:
        if not given["width"] and not given["height"]:
            raise SettingsError("size in pixels: empty; fill in a width, a height or both")
        return {"width": given["width"], "height": given["height"]}
    if custom == MEGAPIXELS:
        if not given["megapixels"]:
            raise SettingsError("target.megapixels: the field is empty; fill in a number of megapixels")
        return {"megapixels": given["megapixels"]}
    return {"scale": given["scale"]}


def way_of(target: Target) -> tuple[str, str]:
    """The ways, one of `WAYS` and one of `CUSTOM_WAYS`, in which a form shows a size."""
    if target.width or target.height:
        return CUSTOM, PIXELS
    if target.megapixels:
        return CUSTOM, MEGAPIXELS
    named = next((way for way, factor in FACTORS.items() if factor == target.scale), CUSTOM)
    return named, FACTOR


def same_size(source: Size, size: Size, dpi: float) -> dict[str, float]:
    """What every field for a size shows where the result is to have that size: by option name, and `print_width`."""
    return {
        "scale": round(min(max(size.width / source.width, 0.5), 16.0), 2),
        "width": size.width,
        "height": size.height,
        "megapixels": float(f"{size.width * size.height / 1e6:.4g}"),
        "print_width": round(size.width / dpi * _INCH, 2),
    }
