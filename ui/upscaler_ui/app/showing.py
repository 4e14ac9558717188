"""What the viewer shows: a chosen picture, a growing canvas, or a result."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from upscaler.errors import UpscalerError
from upscaler.geometry import Size
from upscaler.options.regions import regions
from upscaler.planning import plan
from upscaler.text import count

from .history import Entry
from .job import State
from .page import Page
from .views import TILE_SIDE, file_url, levels_of

_HOLD = "Hold space or the button to see the original."
_COMPARE = "Slide to compare; zoom with the wheel or two fingers; drag to move."
_MARK = "Press Mark an area, or drag with Shift, to choose what is previewed."


def viewer(page: Page, entry: Entry | None) -> dict[str, Any]:
    """The area that was previewed last, the canvas of the job at work, else the result on show, else the chosen picture."""
    job = page.current
    first = page.readable[0] if page.readable else None
    tiles: list[Any] = []
    if job is not None and job.shown is not None and entry is None and job.region is not None:
        before, after = ({"src": uri} for uri in job.shown)
        found = _shown(job.id, job.region.size, after, before, hint=f"Preview of an area. {_COMPARE}", compare=True)
    elif (
        job is not None and (not job.state.over or (entry is None and job.state is not State.FAILED)) and job.view.uri()
    ):
        target = job.view.target
        found = _shown(job.id, target, {"src": job.view.uri()}, {"src": job.view.original}, hint=_HOLD)
        found["boxes"] = job.view.boxes
        tiles = list(job.plan.tiles or ()) if job.plan else []
    elif entry is not None:
        found = _result(entry)
        tiles = _tiles_of(entry)
    elif first is not None:
        planned = page.planned if isinstance(page.planned, tuple) else None
        target = planned[0].target if planned else first.size
        found = _shown(str(first.path), target, {"src": first.thumb}, None, hint=_MARK)
        tiles = list(planned[0].tiles or ()) if planned else []
    else:
        return {}
    found["tiles"] = [list(tile.box) for tile in tiles]
    found["places"] = [[*region[:4], region.prompt] for region in regions(page.settings.diffusion.tile_prompt).regions]
    painted = page.painted if page.mask is not None else 0
    return {**found, "region": page.region, "paintable": _is_paintable(page, entry), "mask": painted}


def _is_paintable(page: Page, entry: Entry | None) -> bool:
    """Whether all of the first chosen picture is on show, itself or enlarged, so that a mask can be painted on it."""
    job, first = page.current, page.readable[0] if page.readable else None
    if first is None:
        return False
    if entry is not None:
        return (entry.name, entry.source_size) == (first.name, first.size)
    return job is None or job.region is None or job.shown is None


def _shown(
    id: str,
    size: Size,
    after: dict[str, Any] | None,
    before: dict[str, Any] | None,
    *,
    hint: str,
    compare: bool = False,
) -> dict[str, Any]:
    """What the viewer shows; `compare` puts original and result side by side under the slider at once."""
    return {"id": id, "size": list(size), "after": after, "before": before, "hint": hint, "compare": compare}


def _result(entry: Entry) -> dict[str, Any]:
    views = {name: entry.view(name) for name in ("original", "after", "tiles")}
    original = views["original"]
    before = {"src": file_url(original)} if original else None
    after: dict[str, Any] | None = None
    if views["after"] is not None:
        after = {"src": file_url(views["after"])}
    elif views["tiles"] is not None:
        after = {"tiles": file_url(views["tiles"]), "side": TILE_SIDE, "levels": levels_of(entry.size)}
    found = _shown(entry.id, entry.size, after, before, hint=_COMPARE, compare=True)
    seams = [{"box": joint["box"], "score": joint["score"], "limit": joint["limit"]} for joint in entry.joints]
    return {**found, "seams": seams, "seamsHint": _seams_hint(entry.joints)}


def _tiles_of(entry: Entry) -> list[Any]:
    """The tiles that a result was refined in, as far as that can be told from its settings."""
    with suppress(UpscalerError):
        return list(plan(entry.source_size, entry.settings).tiles or ())
    return []


def _seams_hint(joints: list[dict[str, Any]]) -> str:
    if not joints:
        return "This result has no joints."
    seen = sum(joint["visible"] for joint in joints)
    mean, inside = (sum(joint[key] for joint in joints) / len(joints) for key in ("score", "inside"))
    return (
        f"{count(len(joints), 'joint')}, {seen} visible; mean score {mean:.2f} of 255, lines inside tiles {inside:.2f}. "
        "Green joints are invisible."
    )
