"""A tiled diffusion upscaler: pictures made large with real detail, no seams and the right colours.

    import upscaler

    upscaler.save(upscaler.upscale("photo.jpg", scale=4), "large.png")

Importing this package imports neither torch nor diffusers; models load when they are needed.
"""

from __future__ import annotations

from .api import run, upscale
from .arrays.types import Image
from .errors import (
    Cancelled,
    ChecksumMismatch,
    ImageError,
    OutOfMemory,
    ProgressError,
    SettingsError,
    UnsupportedModel,
    UpscalerError,
    WeightsError,
    WeightsNotFound,
)
from .events import Event, Finished, Notice, Progress, Stage
from .geometry import Box, Size
from .models import load_refiner, load_upscaler
from .models.base import Refiner, Upscaler
from .options.settings import Settings
from .pictures.files import load, save, to_pil
from .pictures.picture import Picture
from .planning import plan
from .run_plan import RunPlan
from .stages.seam_score import SeamReport, SeamScore, seam_score

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
    "ProgressError",
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
    "save",
    "seam_score",
    "to_pil",
    "upscale",
]
