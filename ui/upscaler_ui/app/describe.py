"""Sentences: what a picture is, what a run will do, how far it is, and what went wrong."""

from __future__ import annotations

import io
import platform
import re
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from PIL import ImageCms

from upscaler import __version__, text
from upscaler.errors import UpscalerError
from upscaler.events import Stage
from upscaler.options.settings import Settings, with_names
from upscaler.options.spec import Option
from upscaler.pictures.picture import Picture
from upscaler.plan import RunPlan

from ..controls import title
from .jobs import Job

STAGES = {
    Stage.ENLARGE: "Enlarging",
    Stage.REFINE: "Refining",
    Stage.SEAMS: "Mending seams",
    Stage.FINISH: "Finishing",
}


def picture_line(picture: Picture) -> str:
    """ "512 x 512, sRGB, 8 bit, no alpha, PNG"."""
    width, height = picture.size
    profile = _profile_name(picture.icc) if picture.icc else "sRGB (no profile)"
    parts = [
        f"{width} × {height}",
        profile,
        f"{picture.depth} bit",
        "alpha" if picture.alpha is not None else "no alpha",
        *(["grey"] if picture.grey else []),
        *([picture.format] if picture.format else []),
    ]
    return ", ".join(parts)


def plan_text(plan: RunPlan, settings: Settings, seconds: float | None) -> str:
    """One line on what a run would do: size, tiles, passes, evaluations, memory, time."""
    width, height = plan.target
    parts = [f"<b>{width} × {height}</b> ({width * height / 1e6:.1f} MP)"]
    if plan.gan_tiles:
        parts.append(f"{plan.gan_tiles} GAN {_plural('tile', plan.gan_tiles)}")
    if plan.tiles is not None and plan.tile is not None:
        columns, rows = len(plan.tiles.columns), len(plan.tiles.rows)
        parts.append(f"{columns} × {rows} {_plural('tile', columns * rows)} of {plan.tile.width} × {plan.tile.height}")
        most = "up to " if settings.seams.mode == "auto" else ""
        passes = "refine + seams" if plan.seam_tiles else "refine"
        parts.append(f"{passes}, {most}{plan.evaluations} {_plural('evaluation', plan.evaluations)}")
    parts.append(f"{max(plan.canvas_bytes / 2**30, 0.1):.1f} GB for the pictures")
    parts.append("time not known before the first run" if seconds is None else f"about {text.duration(seconds)}")
    return " · ".join(parts)


def progress_line(job: Job) -> str:
    """Where a job is: stage, tile, step, percent, elapsed, time left."""
    event = job.progress
    if event is None:
        return f"Loading the models · {duration(job.elapsed)}"
    parts = [STAGES[event.stage]]
    if event.total > 1:
        parts.append(f"tile {min(event.done + 1, event.total)}/{event.total}")
    if event.steps:
        parts.append(f"step {event.step}/{event.steps}")
    parts.append(f"{event.fraction:.0%}")
    parts.append(duration(job.elapsed))
    left = time_left(job)
    if left is not None:
        parts.append(f"{duration(left)} left")
    return " · ".join(parts)


def time_left(job: Job) -> float | None:
    """Seconds until the job is over, from past runs, or from how fast this stage is; `None` where it cannot be told."""
    event = job.progress
    if job.expected is not None and job.expected > job.elapsed:
        return job.expected - job.elapsed
    if event is None or not 0.05 < event.fraction < 1 or event.stage is Stage.ENLARGE:
        return None
    return (job.elapsed - job.stage_started) * (1 - event.fraction) / event.fraction


def duration(seconds: float) -> str:
    """ "8 s", "1:05 min", "2:03 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def quoted(option: Option) -> str:
    """The title of a setting's widget, in quotation marks."""
    return f'"{title(option)}"'


def cause_and_remedy(error: BaseException, name: Callable[[Option], str] = quoted) -> tuple[str, str]:
    """One sentence on what went wrong, and one on what to do; without the folders of this machine.

    Args:
        name: how to call a setting; default is what stands on the page.
    """
    if isinstance(error, UpscalerError):
        cause, _, remedy = with_names(scrubbed(str(error)), name).partition("; ")
        return _sentence(cause), _sentence(remedy or "change it and try again")
    if isinstance(error, MemoryError):
        return "There is not enough memory for this picture.", "Choose a smaller size, or close other programs."
    kind = type(error).__name__
    return (
        _sentence(f"something went wrong that should not have ({kind}: {scrubbed(str(error))[:200]})"),
        "Try again; if it stays, copy the report below and send it to us.",
    )


def report(error: BaseException, settings: Settings | None) -> str:
    """All that is needed to find a fault: versions, settings and the traceback, without private folders and prompts."""
    versions = [f"upscaler {__version__}", f"Python {platform.python_version()}", platform.platform(terse=True)]
    for package in ("torch", "diffusers", "gradio", "numpy", "pillow"):
        versions.append(f"{package} {metadata.version(package)}")
    lines = [", ".join(versions)]
    if settings is not None:
        lines.append(settings.but(prompt="", negative="").to_json())
    lines.append("".join(traceback.format_exception(error)))
    return scrubbed("\n".join(lines))


def scrubbed(text: str) -> str:
    """The text with each absolute path reduced to its last part."""
    text = text.replace(str(Path.home()), "~")
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:\\|~?/|\\\\)(?:[^\s'\":;,()<>|]+[/\\])+", "", text)


def _profile_name(icc: bytes) -> str:
    try:
        return (
            ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()
            or "profile without a name"
        )
    except (ImageCms.PyCMSError, OSError):
        return "a profile that cannot be read"


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    first = text.split(" ")[0].rstrip(":")
    start = text[:1].upper() if first.isalpha() else text[:1]  # names of files and settings stay as they are
    return f"{start}{text[1:]}." if text else ""


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
