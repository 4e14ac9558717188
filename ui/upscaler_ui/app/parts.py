"""What the smaller parts of the page say: plain text for them, made from the state of a session."""

from __future__ import annotations

import html
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler import timing
from upscaler.describe import plan_headline, plan_phrases
from upscaler.errors import UpscalerError
from upscaler.geometry import Box, Size
from upscaler.planning import plan
from upscaler.text import amount, count, duration

from .failures import cause_and_remedy
from .job import Job, State
from .jobs import Worker
from .page import Page

_LOOKED_AT = 40  # of the jobs that wait; the others are taken to be like them
_CENTRE = 512  # pixels of the result, the side of the area that is previewed where none is marked


def facts(page: Page) -> str:
    """What the chosen pictures are."""
    if not page.inputs:
        return ""
    lines: list[str] = []
    if len(page.inputs) == 1:
        item = page.inputs[0]
        if item.error is not None:
            cause = cause_and_remedy(item.error)[0].split(" (")[0].rstrip(".")
            return f'<span class="bad">{html.escape(cause)}.</span>'
        lines = [item.line, *item.notices]
        if item.settings is not None:
            lines.append("The settings that made it are restored.")
    else:
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
    lead = html.escape(plan_headline(found, seconds) + after)
    return f"<b>{lead}</b><details><summary>Details</summary>{'<br>'.join(map(html.escape, rows))}</details>"


def status(page: Page, worker: Worker) -> str:
    """How far the job at work is, or how it ended."""
    job = page.current
    if job is None:
        return ""
    queue = _queue(job, [other for other in page.jobs if not other.state.over and other is not job])
    name = html.escape(job.name)
    if job.state is State.WAITING:
        ahead = worker.ahead(job)
        if worker.paused:
            return f"<b>{name}</b> starts when you press Resume{queue}"
        cause = f"is waiting for {count(ahead, 'other job')}" if ahead else "starts when the models are loaded"
        return f"<b>{name}</b> {cause}{queue}"
    if job.state is State.RUNNING:
        text = "is stopping" if job.stopping else f"Paused · {progress(job)}" if worker.paused else progress(job)
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


def _queue(job: Job, waiting: Sequence[Job]) -> str:
    """How many jobs wait behind one, and how long it takes until all of them are over."""
    if not waiting:
        return ""
    queue = f" · {len(waiting)} more waiting"
    if job.forecast is None:
        return queue
    looked_at = [_expected(other) for other in waiting[:_LOOKED_AT]]
    seconds = job.forecast.pace * sum(looked_at) * len(waiting) / len(looked_at)
    return f"{queue}, about {duration(job.forecast.left + seconds)} in all"


def _expected(job: Job) -> float:
    """Seconds that a job is taken to need; its file is looked at once. 0 for one that cannot be read."""
    if job.expected is None:
        job.expected = 0.0
        with suppress(UpscalerError):  # told when its turn comes
            job.expected = timing.estimate(plan(job.source, job.settings, region=job.region), job.settings)
    return job.expected


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
