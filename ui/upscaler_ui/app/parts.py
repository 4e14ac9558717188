"""What the parts of the page show: plain values for them, made from the state of a session."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler import timing
from upscaler.describe import plan_phrases
from upscaler.errors import UpscalerError
from upscaler.geometry import Size
from upscaler.text import count, duration

from .failures import cause_and_remedy
from .history import Entry
from .jobs import Job, State, Worker
from .session import Page, Session
from .views import file_uri

_ITEMS = 40
_SPACE = "Hold space to see the original."


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
    plan, settings = page.planned
    seconds = timing.estimate(plan, settings)
    rows = [f"{head.capitalize()}: {phrase}" for head, phrase in plan_phrases(plan, settings, seconds).items()]
    more = len(page.readable) - 1
    after = f"; then {count(more, 'more picture')}" if more else ""
    lead = html.escape(f"{plan.target.width} × {plan.target.height}, about {duration(seconds)}{after}")
    return f"<b>{lead}</b><details><summary>Details</summary>{'<br>'.join(map(html.escape, rows))}</details>"


def viewer(page: Page, entry: Entry | None) -> dict[str, Any]:
    """The canvas of the job at work, else the result on show, else the chosen picture."""
    found: dict[str, Any]
    job = page.current
    first = page.readable[0] if page.readable else None
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
        return "This result has no joints." if entry else "Seam scores are shown when a run with tiles has finished."
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
        State.STOPPED: "was stopped; what was finished is kept" if job.progress else "was removed from the queue",
        State.FAILED: "failed",
    }
    notes = "".join(f'<br><span class="quiet">{html.escape(note)}</span>' for note in job.notices)
    return f"<b>{name}</b> {ends[job.state]} · {duration(job.elapsed)}{notes}"


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
    """The results, the latest first."""
    items = [_entry_item(entry, page) for entry in session.history.entries()[:_ITEMS]]
    return {"local": local, "items": items, "empty": "Your results will appear here."}


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
    """A marked area as a browser sent it; `None` for none, and for anything but four numbers in order."""
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
