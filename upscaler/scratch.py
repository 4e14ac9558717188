"""Where a run keeps its pictures while it is at work: in memory, or on a disk where they would not fit comfortably."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .arrays.store import IN_MEMORY, Store
from .errors import OutOfMemory
from .memory import free_memory
from .plan import RunPlan

_PART = 0.5  # of the free memory, above which pictures go to the disk: models and the system need the rest
_GIB = 2**30


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
            "make it smaller, or give a folder on a larger disk by --scratch"
        )
    return Store(folder)
