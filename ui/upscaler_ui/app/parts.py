"""What the parts of the page show: plain values for them, made from the state of a session."""

from __future__ import annotations

import html
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler import timing
from upscaler.api import plan
from upscaler.describe import plan_phrases
from upscaler.errors import UpscalerError
from upscaler.geometry import Box, Size
from upscaler.text import amount, count, duration

from . import looks
from .failures import cause_and_remedy
from .history import Entry
from .jobs import Job, State, Worker
from .session import Page, Session
from .views import TILE_SIDE, file_uri, file_url, levels_of

_HOLD = "Hold space to see the original."
_COMPARE = "Drag the slider to compare; the wheel zooms, and dragging moves the picture."
_MARK = "Drag with Shift, or press Mark an area, to choose what is previewed."
_CENTRE = 512  # pixels of the result, the side of the area that is previewed where none is marked


def facts(page: Page) -> str:
    """What the chosen pictures are."""
    if not page.inputs:
        return ""
    lines: list[str] = []
    if len(page.inputs) == 1 and page.readable:
        item = page.readable[0]
        lines = [item.line, *item.notices]
        if item.settings is not None:
            lines.append("The settings that made it are restored.")
    elif len(page.inputs) > 1:
        all_read = len(page.readable) == len(page.inputs)
        those = f"{count(len(page.inputs), 'picture')}"
        lines = [f"{those}, one after the other" if all_read else f"{len(page.readable)} of {those} can be read"]
        lines += [item.line for item in page.readable[:1]]
    return "<br>".join(html.escape(line) for line in lines)


def plan_line(page: Page) -> str:
    """What a run of the first picture would do."""
    if page.planned is None:
        return '<span class="quiet">Choose a picture to see what a run would do.</span>'
    if isinstance(page.planned, UpscalerError):
        return f'<span class="bad">{html.escape(" ".join(cause_and_remedy(page.planned)))}</span>'
    found, settings = page.planned
    seconds = timing.estimate(found, settings)
    rows = [f"{head.capitalize()}: {phrase}" for head, phrase in plan_phrases(found, settings, seconds).items()]
    more = len(page.readable) - 1
    after = f"; then {count(more, 'more picture')}" if more else ""
    lead = html.escape(f"{found.target.width} × {found.target.height}, about {duration(seconds)}{after}")
    return f"<b>{lead}</b><details><summary>Details</summary>{'<br>'.join(map(html.escape, rows))}</details>"


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
    painted = page.painted if page.mask is not None else 0
    return {**found, "region": page.region, "paintable": _shows(page, entry), "mask": painted}


def _shows(page: Page, entry: Entry | None) -> bool:
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


def status(page: Page, worker: Worker) -> str:
    """How far the job at work is, or how it ended."""
    job = page.current
    if job is None:
        return ""
    waiting = sum(not other.state.over for other in page.jobs) - 1
    queue = f" · {waiting} more waiting" if waiting > 0 else ""
    name = html.escape(job.name)
    if job.state is State.WAITING:
        ahead = worker.ahead(job)
        cause = f"is waiting for {count(ahead, 'other job')}" if ahead else "starts when the models are loaded"
        return f"<b>{name}</b> {cause}{queue}"
    if job.state is State.RUNNING:
        text = "is stopping" if job.stopping else progress(job)
        percent = 100 * fraction(job)
        bar = f'<progress max="100" value="{percent:.1f}" aria-label="Progress of {name}"></progress>'
        return f"<b>{name}</b> {text}{queue}{bar}"
    ends = {
        State.FINISHED: "is finished",
        State.STOPPED: _stopped(job),
        State.FAILED: "failed",
    }
    notes = "".join(f'<br><span class="quiet">{html.escape(note)}</span>' for note in job.notices)
    return f"<b>{name}</b> {ends[job.state]} · {duration(job.elapsed)}{notes}"


def _stopped(job: Job) -> str:
    if job.progress is None and not job.started:
        return "was removed from the queue"
    return (
        "was stopped; what was finished is kept"
        if job.worth_keeping and not job.region
        else "was stopped; nothing to keep"
    )


def progress(job: Job) -> str:
    """Where a job is: percent, time left, stage and tile."""
    event = job.progress
    if event is None or job.forecast is None:
        return "Loading the models"
    phrases = [f"{fraction(job):.0%}", f"about {duration(job.forecast.left)} left", event.stage.label]
    if event.total > 1:
        phrases.append(f"tile {min(event.done + 1, event.total)} of {event.total}")
    return " · ".join(phrases)


def fraction(job: Job) -> float:
    """Finished part of a job, 0 to 1."""
    return 0.0 if job.forecast is None else job.forecast.fraction


def queue(session: Session) -> dict[str, Any]:
    """Jobs that are not over, then those that failed, the latest first."""
    waiting = [job for job in session.jobs if not job.state.over]
    failed = [job for job in reversed(session.jobs) if job.state is State.FAILED and job.region is None]
    return {"items": [_job_item(job) for job in (*waiting, *failed)]}


def history(session: Session, page: Page, local: bool) -> dict[str, Any]:
    """The results, the latest first, as far as they are asked for."""
    everything = session.history.entries()
    wanted = listed(session, page)
    undo = {"id": page.removed[0], "title": page.removed[1]} if page.removed else None
    return {
        "local": local,
        "items": [_entry_item(entry, page) for entry in wanted[: page.listed]],
        "empty": f"No result matches {page.filter!r}." if everything else "Your results will appear here.",
        "tools": len(everything) > 1,
        "more": len(wanted) > page.listed,
        "undo": undo,
    }


def listed(session: Session, page: Page) -> list[Entry]:
    """All results that match the filter, the latest first."""
    wanted = page.filter.lower().split()
    entries = session.history.entries()
    if not wanted:
        return entries
    return [entry for entry in entries if all(word in f"{entry.name} {_about(entry)}".lower() for word in wanted)]


def sheet(page: Page) -> dict[str, Any]:
    """The looks that are compared."""
    return {"items": [_look_item(name, job) for name, job in page.sheet]}


def _look_item(name: str, job: Job) -> dict[str, Any]:
    text = f"{duration(job.elapsed)}" if job.shown else "failed" if job.error else job.state.value
    return {"name": name, "title": looks.title_of(name), "text": text, "src": job.shown[1] if job.shown else ""}


def preview_area(page: Page, target: Size) -> Box:
    """What is previewed: the marked area, or else the centre, in pixels of the result."""
    if page.region is not None:
        left, top, right, bottom = page.region
        return Box.enclosing(
            left * target.width, top * target.height, right * target.width, bottom * target.height, within=target
        )
    width, height = (min(_CENTRE, side) for side in target)
    left, top = (target.width - width) // 2, (target.height - height) // 2
    return Box(left, top, left + width, top + height)


def preview_label(page: Page) -> str:
    """What the button for a preview says."""
    what = "Preview the centre" if page.region is None else "Preview area"
    if not isinstance(page.planned, tuple):
        return what
    whole, settings = page.planned
    try:
        part = plan(whole.source, settings, region=preview_area(page, whole.target))
    except UpscalerError:
        return what
    return f"{what}, about {duration(timing.estimate(part, settings))}"


def _job_item(job: Job) -> dict[str, Any]:
    stage = job.progress.stage.label if job.progress else job.state.value
    text = "failed: " + cause_and_remedy(job.error)[0] if job.error is not None else stage
    return {
        "id": job.id,
        "title": job.name if job.region is None else f"{job.name} (area)",
        "text": text,
        "state": job.state.value,
        "fraction": round(fraction(job), 2),
        "thumb": "",
        "shown": False,
    }


def _entry_item(entry: Entry, page: Page) -> dict[str, Any]:
    return {
        "id": entry.id,
        "title": entry.name,
        "text": _about(entry),
        "state": "finished" if entry.complete else "partial",
        "fraction": 1,
        "thumb": file_uri(entry.view("thumb")),
        "shown": entry.id == page.shown,
    }


def _about(entry: Entry) -> str:
    """Look, size and moment of a result, in two lines."""
    made = time.localtime(entry.made)
    moment = f"{made.tm_mday} {time.strftime('%b, %H:%M', made)}"
    first = looks.title_for(entry.settings) if entry.complete else "stopped"
    return f"{first} · {entry.size}\n{moment} · {amount(entry.bytes)}"


def download(path: Path) -> Any:
    """The button that hands out a file."""
    return gr.DownloadButton(
        f"Download {path.suffix.lstrip('.').upper()}, {amount(path.stat().st_size)}", value=str(path)
    )


def fractions(region: Any) -> tuple[float, float, float, float] | None:
    """A marked area as a browser sent it; `None` for none, and for anything but four numbers in order."""
    if (
        not isinstance(region, (list, tuple))
        or len(region) != 4
        or not all(isinstance(side, (int, float)) for side in region)
    ):
        return None
    left, top, right, bottom = (min(max(float(side), 0.0), 1.0) for side in region)
    return (left, top, right, bottom) if left < right and top < bottom else None
