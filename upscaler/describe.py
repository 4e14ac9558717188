"""Plans and models for people and for programs: what every front end tells of them, once."""

from __future__ import annotations

from typing import Any

from .options.settings import Settings
from .run_plan import RunPlan
from .text import amount, count, duration
from .weights import Model


def plan_values(plan: RunPlan, seconds: float) -> dict[str, Any]:
    """A plan as plain values for JSON; sizes are pairs of width and height in pixels.

    Args:
        seconds: from `upscaler.timing.estimate`.
    """
    tiles = plan.tiles
    return {
        "source": list(plan.source),
        "target": list(plan.target),
        "gan_tiles": plan.gan_tiles,
        "tile": None if plan.tile is None else list(plan.tile),
        "grid": None if tiles is None else [len(tiles.columns), len(tiles.rows)],
        "seam_tiles": plan.seam_tiles,
        "evaluations": plan.evaluations,
        "faces": 0 if plan.faces is None else len(plan.faces),
        "picture_bytes": plan.picture_bytes,
        "memory_bytes": plan.memory_bytes,
        "seconds": seconds,
    }


def plan_headline(plan: RunPlan, seconds: float) -> str:
    """What matters most of a plan: "1024x1024, about 1 min".

    Args:
        seconds: from `upscaler.timing.estimate`.
    """
    return f"{plan.target}, about {duration(seconds)}"


def plan_phrases(plan: RunPlan, settings: Settings, seconds: float) -> dict[str, str]:
    """A plan in words: a phrase on each stage that the run has, on memory and on time, by a word that may head it.

    Args:
        seconds: from `upscaler.timing.estimate`.
    """
    size, diffusion, seams = plan.target, settings.diffusion, settings.seams
    network = f"{count(plan.gan_tiles, 'tile')} by {settings.gan.model}" if plan.gan_tiles else "resampled"
    phrases = {"size": f"{plan.source} -> {size} ({size.width * size.height / 1e6:.1f} MP)", "enlarge": network}
    if plan.tiles is not None and plan.tile is not None:
        columns, rows = len(plan.tiles.columns), len(plan.tiles.rows)
        grid = f" ({columns}x{rows})" if columns * rows > 1 else ""
        phrases["refine"] = (
            f"{count(columns * rows, 'tile')}{grid} of {plan.tile} by {diffusion.model}, "
            f"{count(plan.sampling.steps, 'step')} at strength {diffusion.strength:g}"
        )
        most = "up to " if seams.mode == "auto" else ""
        if plan.seam_tiles:
            phrases["seams"] = (
                f"{most}{count(plan.seam_tiles, 'piece')}, {count(plan.seam_sampling.steps, 'step')} each"
            )
        phrases["in all"] = f"{most}{count(plan.evaluations, 'step')} of the diffusion model"
    if plan.faces is not None:
        phrases["faces"] = f"{len(plan.faces)} by {settings.faces.model}, at strength {settings.faces.strength:g}"
    pictures, whole, beside = amount(plan.picture_bytes), plan.memory_bytes, plan.beside_bytes
    phrases["memory"] = (
        f"{pictures} for the pictures, in memory or on disk, plus the models"
        if whole is None or beside is None
        else f"about {amount(whole)} with the models on the CPU; or {amount(beside)}, with the pictures on disk ({pictures})"
    )
    phrases["time"] = f"about {duration(seconds)}"
    return phrases


def model_values(model: Model) -> dict[str, Any]:
    """A model as plain values for JSON, without the place on this machine."""
    return {
        "name": model.name,
        "kind": model.kind,
        "family": model.family,
        "place": model.place,
        "purpose": model.purpose,
        "scale": model.scale,
        "bytes": model.bytes,
        "licence": model.licence,
    }
