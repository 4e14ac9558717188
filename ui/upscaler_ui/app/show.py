"""What the parts of the page show: plain values for them, made from the state of the desk."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler import timing
from upscaler.errors import UpscalerError
from upscaler.geometry import Size

from .describe import cause_and_remedy, duration, plan_text, progress_line
from .desk import Desk, Page
from .history import Entry
from .jobs import Job, State, Worker
from .pictures import file_uri

_ITEMS = 40
_SPACE = "Hold space to see the original."


def facts(page: Page) -> str:
    """What the chosen pictures are."""
    if not page.inputs:
        return ""
    lines: list[str] = []
    if len(page.inputs) == 1 and page.good:
        item = page.good[0]
        lines = [item.line, *item.notices]
        if item.settings is not None:
            lines.append("Its settings are restored.")
    elif len(page.inputs) > 1:
        lines = [
            f"{len(page.good)} of {len(page.inputs)} pictures can be read"
            if page.good != page.inputs
            else f"{len(page.inputs)} pictures, one after the other"
        ]
        lines += [item.line for item in page.good[:1]]
    return "<br>".join(html.escape(line) for line in lines)


def plan_line(page: Page) -> str:
    """What a run of the first picture would do."""
    if page.planned is None:
        return '<span class="quiet">What a run will do is said here once there is a picture.</span>'
    if isinstance(page.planned, UpscalerError):
        return f'<span class="bad">{html.escape(" ".join(cause_and_remedy(page.planned)))}</span>'
    plan, settings = page.planned
    more = len(page.good) - 1
    return plan_text(plan, settings, timing.estimate(plan, settings)) + (f" · and {more} more pictures" if more else "")


def viewer(page: Page, entry: Entry | None) -> dict[str, Any]:
    """The canvas of the job at work, else the result on show, else the chosen picture."""
    job = page.current
    first = page.good[0] if page.good else None
    if job is not None and (not job.state.over or (entry is None and job.state is not State.FAILED)) and job.view.uri():
        width, height = job.view.target
        hint = _SPACE
        found = {
            "name": job.id,
            "src": job.view.uri(),
            "original": job.view.original,
            "ratio": width / height,
            "boxes": job.view.boxes,
        }
        target, tiles = job.view.target, job.plan.tiles if job.plan else None
        joints: list[dict[str, Any]] = []
    elif entry is not None:
        width, height = target = entry.size
        pair = {"src": file_uri(entry.view("overview")), "original": file_uri(entry.view("original"))}
        found = {"name": entry.id, **pair, "ratio": width / height}
        hint, tiles, joints = _SPACE, None, entry.joints
    elif first is not None:
        planned = page.planned if isinstance(page.planned, tuple) else None
        target = planned[0].target if planned else first.size
        found = {"name": str(first.path), "src": first.thumb, "ratio": target.width / target.height}
        hint, tiles, joints = (
            "Drag over the picture to mark an area for a preview.",
            planned[0].tiles if planned else None,
            [],
        )
    else:
        return {"src": ""}
    if page.overlay == "Tiles" and tiles is not None:
        found["grid"] = [_fractions(tile.box, target) for tile in tiles]
    elif page.overlay == "Seams":
        found["seams"] = [
            {"box": _fractions(joint["box"], target), "score": joint["score"], "limit": joint["limit"]}
            for joint in joints
        ]
        hint = _seams_hint(joints, entry)
    return {**found, "region": page.region, "hint": hint}


def _seams_hint(joints: list[dict[str, Any]], entry: Entry | None) -> str:
    if not joints:
        return (
            "Seam scores are there once a run with tiles is finished."
            if entry is None
            else "This result has no joints."
        )
    seen = sum(joint["visible"] for joint in joints)
    mean = sum(joint["score"] for joint in joints) / len(joints)
    inside = sum(joint["inside"] for joint in joints) / len(joints)
    return f"{len(joints)} joints, {seen} visible; mean {mean:.2f}, lines inside tiles {inside:.2f} (of 255). Green is not to be seen."


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
        return f"<b>{name}</b> waits for {ahead} other {'job' if ahead == 1 else 'jobs'}{queue}"
    if job.state is State.RUNNING:
        text = "Stopping after this step" if job.stopping else progress_line(job)
        percent = 100 * (job.progress.fraction if job.progress else 0)
        return f'<b>{name}</b> {text}{queue}<progress max="100" value="{percent:.1f}"></progress>'
    ends = {
        State.FINISHED: "is finished",
        State.STOPPED: "was stopped; what was finished is kept" if job.progress else "was taken out of the queue",
        State.FAILED: "failed",
    }
    notes = "".join(f'<br><span class="quiet">{html.escape(note)}</span>' for note in job.notices)
    return f"<b>{name}</b> {ends[job.state]} · {duration(job.elapsed)}{notes}"


def queue(desk: Desk) -> dict[str, Any]:
    """Jobs that are not over, then those that failed, the latest first."""
    waiting = [job for job in desk.jobs if not job.state.over]
    failed = [job for job in reversed(desk.jobs) if job.state is State.FAILED and job.region is None]
    return {"items": [_job_item(job) for job in (*waiting, *failed)]}


def history(desk: Desk, page: Page, local: bool) -> dict[str, Any]:
    """The results, the latest first."""
    items = [_entry_item(entry, page) for entry in desk.history.entries()[:_ITEMS]]
    return {"local": local, "items": items, "empty": "Results will be kept here."}


def _job_item(job: Job) -> dict[str, Any]:
    fraction = round(job.progress.fraction, 2) if job.progress else 0
    stage = job.progress.stage.value if job.progress else job.state.value
    text = "failed: " + cause_and_remedy(job.error)[0] if job.error is not None else stage
    return {
        "id": job.id,
        "title": job.name if job.region is None else f"{job.name}, an area",
        "text": text,
        "state": job.state.value,
        "fraction": fraction,
        "thumb": "",
        "shown": False,
    }


def _entry_item(entry: Entry, page: Page) -> dict[str, Any]:
    text = f"{entry.size}" if entry.complete else f"{entry.size}, stopped"
    return {
        "id": entry.id,
        "title": entry.name,
        "text": text,
        "state": "finished" if entry.complete else "partial",
        "fraction": 1,
        "thumb": file_uri(entry.view("thumb")),
        "shown": entry.id == page.shown,
    }


def download(path: Path) -> Any:
    """The button that hands out a file."""
    size = path.stat().st_size
    amount = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
    return gr.DownloadButton(f"Download {path.suffix.lstrip('.').upper()}, {amount}", value=str(path))


def fractions(region: Any) -> tuple[float, float, float, float] | None:
    """A marked area as it came from a browser; `None` for none, and for what is not four numbers in order."""
    if (
        not isinstance(region, (list, tuple))
        or len(region) != 4
        or not all(isinstance(side, (int, float)) for side in region)
    ):
        return None
    left, top, right, bottom = (min(max(float(side), 0.0), 1.0) for side in region)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _fractions(box: Any, size: Size) -> list[float]:
    left, top, right, bottom = box
    return [left / size.width, top / size.height, min(right / size.width, 1.0), min(bottom / size.height, 1.0)]
