"""What is listed: jobs that wait, results, and looks that are compared."""

from __future__ import annotations

import time
from typing import Any

from upscaler.text import amount, duration

from . import looks
from .drafts import Draft
from .failures import cause_and_remedy
from .history import Entry
from .job import Job, State
from .page import Page
from .parts import fraction
from .session import Session
from .views import file_uri, thumb_uri


def queue(session: Session) -> dict[str, Any]:
    """What a crash has left, jobs that are not over, then those that failed, the latest first."""
    waiting = [job for job in session.jobs if not job.state.over]
    failed = [job for job in reversed(session.jobs) if job.state is State.FAILED and job.region is None]
    jobs = [_job_item(job, paused=session.worker.paused) for job in (*waiting, *failed)]
    return {"items": [*map(_draft_item, session.drafts.left), *jobs]}


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


def _draft_item(draft: Draft) -> dict[str, Any]:
    far = "not finished" if draft.fraction is None else f"{draft.fraction:.0%} finished"
    return {
        "id": draft.id,
        "title": draft.name,
        "text": f"{far}\nwhen upscaler ended",
        "state": "left",
        "fraction": round(draft.fraction or 0.0, 2),
        "thumb": thumb_uri(draft.source),
        "shown": False,
    }


def _job_item(job: Job, *, paused: bool) -> dict[str, Any]:
    stage = (
        "Paused"
        if paused and job.state is State.RUNNING
        else job.progress.stage.label
        if job.progress
        else job.state.value.capitalize()
    )
    text = "Failed: " + cause_and_remedy(job.error)[0] if job.error is not None else stage
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
    first = looks.title_for(entry.settings) if entry.complete else "Stopped"
    return f"{first} · {entry.size}\n{moment} · {amount(entry.bytes)}"
