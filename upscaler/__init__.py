"""A tiled diffusion upscaler: pictures made large with real detail, no seams and the right colours.

    import upscaler

    upscaler.upscale("photo.jpg", scale=4).save("large.png")

Importing this package imports neither torch nor diffusers; models load when they are needed.
"""

from __future__ import annotations

from .api import plan, run, upscale
from .errors import (
    Cancelled,
    ChecksumMismatch,
    ImageError,
    OutOfMemory,
    SettingsError,
    UnsupportedModel,
    UpscalerError,
    WeightsError,
    WeightsNotFound,
)
from .events import Event, Finished, Notice, Progress, Stage
from .files import load
from .geometry import Box, Size
from .image import Image, Picture
from .models import load_refiner, load_upscaler
from .models.base import Refiner, Upscaler
from .planning import RunPlan
from .seams import SeamReport, SeamScore, seam_score
from .settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Cancelled",
    "ChecksumMismatch",
    "Event",
    "Finished",
    "Image",
    "ImageError",
    "Notice",
    "OutOfMemory",
    "Picture",
    "Progress",
    "Refiner",
    "RunPlan",
    "SeamReport",
    "SeamScore",
    "Settings",
    "SettingsError",
    "Size",
    "Stage",
    "UnsupportedModel",
    "Upscaler",
    "UpscalerError",
    "WeightsError",
    "WeightsNotFound",
    "load",
    "load_refiner",
    "load_upscaler",
    "plan",
    "run",
    "seam_score",
    "upscale",
]
