"""Where a run keeps its pictures while it is at work: in memory, or on a disk where they would not fit comfortably."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .arrays.store import IN_MEMORY, Store
from .errors import OutOfMemory, SettingsError
from .geometry import Size
from .memory import free_memory
from .models.base import Redrawer
from .options.settings import Settings
from .plan import plan_run
from .run_plan import RunPlan

_PART = 0.5  # of the free memory, above which pictures go to the disk: models and the system need the rest
_GIB = 2**30


def store_for(size: Size, settings: Settings, *, scratch: Path | None = None) -> Store:
    """Where a picture of that size is kept that is to be enlarged with these settings, as `choose_store` tells of the run."""
    refiner = None if settings.diffusion.model == "none" else Redrawer()
    try:
        plan = plan_run(size, settings, upscaler=None, refiner=refiner)
    except SettingsError:  # the run says so, once it knows which way up the picture is
        return IN_MEMORY
    return choose_store(plan, scratch=scratch)


def choose_store(plan: RunPlan, *, scratch: Path | None = None) -> Store:
    """In memory where the pictures of the run fit comfortably, else in files.

    Args:
        scratch: the folder for these files; default is the system's for temporary files.

    Raises:
        OutOfMemory: they fit neither here nor there.
    """
    if plan.picture_bytes <= _PART * free_memory():
        return IN_MEMORY
    folder = scratch or Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if plan.picture_bytes > free:
        raise OutOfMemory(
            f"a result of {plan.target} needs {plan.picture_bytes / _GIB:.0f} GiB for its pictures, more than half of the "
            f"{free_memory() / _GIB:.0f} GiB of free memory and than the {free / _GIB:.0f} GiB on the disk of {folder}; "
            "make it smaller, or give a folder on a larger disk with --scratch"
        )
    return Store(folder)
