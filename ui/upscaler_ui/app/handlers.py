"""What happens when the page is used. A handler changes the state of the session and returns what changes on the page.

layout.py, form.py  the widgets     session.py  what a user has     jobs.py  the thread that runs jobs     render.py  drawing
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler.api import plan
from upscaler.errors import UpscalerError
from upscaler.geometry import Box
from upscaler.options import presets
from upscaler.options.settings import Settings
from upscaler.text import amount

from . import listing, looks, parts
from .endpoints import add_endpoints
from .form import WHOLE_FILES
from .inputs import Input, painted_mask
from .page import LISTED, Page
from .preset_handlers import PresetHandlers
from .render import AS_TYPED, PRIVATE, QUEUED, QUIET, Update
from .results import archive, check_result, convert
from .session import Session
from .sessions import Sessions
from .system import pictures_in, reveal


def build(sessions: Sessions, *, local: bool = True) -> gr.Blocks:
    """The page.

    Args:
        local: browser and app are on one machine, so that a result can be shown in its folder.
    """
    with gr.Blocks(title="upscaler", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)) as blocks:
        page = Handlers(sessions, local)
        blocks.load(page.on_load, None, page.everything, **QUIET)
    return blocks


class Handlers(PresetHandlers):
    """The page with all that happens on it."""

    def __init__(self, sessions: Sessions, local: bool) -> None:
        super().__init__(sessions, local)
        self._wire()
        add_endpoints(self.form, sessions)

    def _wire(self) -> None:
        form, fields, own, everything = self.form, self.form.fields, self.own, self.everything
        # not `change`: what the program changes, it plans itself, once
        sliders = [widget for widget in (*form.shown, form.creativity) if isinstance(widget, gr.Slider)]
        ways = (form.way, form.custom)
        used = [*(widget.input for widget in fields if widget not in ways), *(slider.release for slider in sliders)]
        gr.on(used, self.on_plan, fields, own, trigger_mode="always_last", **AS_TYPED)
        gr.on([way.input for way in ways], self.on_way, fields, everything, **AS_TYPED)
        self.files.change(self.on_files, [self.files, *fields], everything, **QUEUED)
        self.folder.upload(pictures_in, self.folder, self.files, **QUIET)
        self.paste.upload(self.on_paste, self.paste, self.files, **QUIET)
        self.compare.click(self.on_compare, fields, own, **AS_TYPED)
        self.sheet.choose(self.on_choose_preset, fields, everything, **AS_TYPED)
        self.viewer.mark(self.on_mark, None, own, **QUIET)
        self.viewer.paint(self.on_paint, None, own, trigger_mode="always_last", **QUIET)
        self.run.click(self.on_run, fields, own, **AS_TYPED)
        self.preview.click(self.on_preview, fields, own, **AS_TYPED)
        self.stop.click(self.on_stop, None, own, trigger_mode="multiple", **QUIET)
        self.timer.tick(self.on_tick, None, own, trigger_mode="once", **QUIET)
        self.queue.act(self.on_queue, None, own, trigger_mode="multiple", **QUIET)
        self.history.act(self.on_history, fields, everything, trigger_mode="multiple", **AS_TYPED)
        self.convert.input(self.on_convert, self.convert, own, **PRIVATE)
        self.wire_presets()

    def on_load(self, request: gr.Request) -> Update:
        """A page was opened: show what the session has."""
        session, page = self.of(request)
        page.sent.clear()
        return {**self.changes(session, page), **self.presets()}

    def on_tick(self, request: gr.Request) -> Update:
        """Some time has passed: show what has changed."""
        return self.changes(*self.of(request))

    def on_files(self, request: gr.Request, paths: list[str] | None, *values: Any) -> Update:
        """Other pictures were chosen."""
        session, page = self.of(request)
        page.choose([Path(path) for path in paths or []], self.form.max_pixels(values))
        stored = page.inputs[0].settings if len(page.inputs) == 1 else None
        if stored is not None:
            page.look = looks.look_of(stored)
        page.planned = self.planned(page, stored or values)
        update = {**self.changes(session, page), **self.inputs(page)}
        if stored is not None:
            update |= self.form.updates(stored)
        return update

    def on_plan(self, request: gr.Request, *values: Any) -> Update:
        """Settings were changed: show what a run would do."""
        session, page = self.of(request)
        update: Update = {}
        if page.limit(self.form.max_pixels(values)):
            update = self.inputs(page)
        page.planned = self.planned(page, values)
        return {**self.changes(session, page), **update}

    def on_way(self, request: gr.Request, *values: Any) -> Update:
        """Another way to say the size was chosen: its fields begin with the size that is planned."""
        session, page = self.of(request)
        update = self.form.visible(*values[:2])
        if page.readable:
            source = page.readable[0].size
            size = page.planned[0].target if isinstance(page.planned, tuple) else Settings().target.of(source)
            fields = self.form.at_size(source, size, float(values[4] or 300))
            update |= fields
            values = tuple(fields.get(field, value) for field, value in zip(self.form.fields, values))
        page.planned = self.planned(page, values)
        return {**self.changes(session, page), **update}

    def on_paste(self, path: str) -> list[str]:
        """A picture was pasted: it is the chosen one."""
        return [path]

    def on_mark(self, event: gr.EventData, request: gr.Request) -> Update:
        """An area was marked in the picture."""
        session, page = self.of(request)
        page.region = parts.fractions(self.sent(event).get("region"))
        return self.changes(session, page)

    def on_paint(self, event: gr.EventData, request: gr.Request) -> Update:
        """A mask was painted over the picture, or cleared."""
        session, page = self.of(request)
        page.paint(painted_mask(self.sent(event).get("mask")))
        return self.changes(session, page)

    def on_run(self, request: gr.Request, *values: Any) -> Update:
        """Enlarge all chosen pictures."""
        session, page = self.of(request)
        try:
            if not page.readable:
                raise UpscalerError("there is no picture to enlarge; drop one on the page, paste one, or browse")
            found = [(item, self.settings(values, item)) for item in page.readable]
            for item, settings in found:
                check_result(plan(item.size, settings).target, settings)
            page.follow(
                [job for item, settings in found for job in session.start([item], settings, page.mask_of(item))]
            )
        except UpscalerError as error:
            return self.failure(error)
        return {**self.changes(session, page), **self.no_failure()}

    def on_preview(self, request: gr.Request, *values: Any) -> Update:
        """Run the marked area of the first picture alone, or its centre."""
        session, page = self.of(request)
        if not page.readable:
            return self.nothing()
        try:
            page.follow([session.preview(*self._area(page, values), page.mask)])
        except UpscalerError as error:
            return self.failure(error)
        return {**self.changes(session, page), **self.no_failure()}

    def on_compare(self, request: gr.Request, *values: Any) -> Update:
        """Run that area in every built-in look, to pick one of them."""
        session, page = self.of(request)
        if not page.readable:
            return self.nothing()
        try:
            item, settings, region = self._area(page, values)
            found = [preset for preset in presets.presets() if preset.builtin]
            jobs = [session.preview(item, preset.over(settings), region, page.mask) for preset in found]
        except UpscalerError as error:
            return self.failure(error)
        page.sheet = [(preset.name, job) for preset, job in zip(found, jobs)]
        page.follow(jobs)
        return {**self.changes(session, page), **self.no_failure()}

    def _area(self, page: Page, values: Sequence[Any]) -> tuple[Input, Settings, Box]:
        """What a preview runs: the first picture, its settings, and the part of the result. Raises: `UpscalerError`."""
        item = page.readable[0]
        settings = self.settings(values, item)
        return item, settings, parts.preview_area(page, plan(item.size, settings).target)

    def on_stop(self, request: gr.Request) -> Update:
        """Stop what was started on this page."""
        session, page = self.of(request)
        for job in page.jobs:
            job.stop()
        return self.changes(session, page)

    def on_queue(self, event: gr.EventData, request: gr.Request) -> Update:
        """A button of a job in the queue."""
        session, page = self.of(request)
        action, id = self._action(event)
        job = session.job(id)
        update: Update = {}
        if job is None:
            update = self._on_draft(action, id, session, page)
        elif action == "stop":
            job.stop()
        elif action == "remove" and job.state.over:
            session.forget(job)
        elif action == "show" and job.error is not None:
            update = self.failure(job.error, job.settings)
        elif action == "show" and not job.state.over and job not in page.jobs:
            page.follow([job])  # started by a page that was closed or loaded again
        return {**self.changes(session, page), **update}

    def _on_draft(self, action: str, id: str, session: Session, page: Page) -> Update:
        """A button of what a crash has left."""
        draft = next((draft for draft in session.drafts.left if draft.id == id), None)
        if draft is None:
            return {}
        if action == "drop":
            session.drop(draft)
        elif action in ("go on", "show"):
            try:
                page.follow(session.go_on(draft))
            except UpscalerError as error:
                return self.failure(error)
        return self.no_failure()

    def on_history(self, event: gr.EventData, request: gr.Request, *values: Any) -> Update:
        """A button of a result in the history."""
        session, page = self.of(request)
        action, id = self._action(event)
        entry = session.history.get(id)
        update: Update = {}
        if entry is None:
            update = self._on_list(action, id, str(self.sent(event).get("text", "")), session, page)
        elif action == "show":
            page.shown = id
            update = self.no_failure()
        elif action == "remove":
            session.history.remove(id)
            page.removed = (id, entry.name)
            page.shown = None if page.shown == id else page.shown
        elif action == "restore":
            page.look = looks.look_of(entry.settings)
            page.planned = self.planned(page, entry.settings)
            update = self.form.updates(entry.settings)
        elif action == "input":
            try:
                update = {
                    self.files: [str(session.hold(entry.result_path))]
                }  # it may be removed before it is handed over
            except UpscalerError as error:
                update = self.failure(error)
        elif action == "reveal" and self.local:
            reveal(entry.result_path)
        elif action == "rerun":
            try:
                item = Input(entry.source_path, entry.name, entry.source_size)
                settings = self.settings(values, item)
                check_result(plan(item.size, settings).target, settings)
                page.follow(session.start([item], settings))
            except UpscalerError as error:
                update = self.failure(error)
        return {**self.changes(session, page), **update}

    def _on_list(self, action: str, id: str, text: str, session: Session, page: Page) -> Update:
        """A button beside the results: they are filtered, more are listed, all are wanted, or one comes back."""
        if action == "filter":
            page.filter, page.listed = text[:100], LISTED
        elif action == "more":
            page.listed += LISTED
        elif action == "undo" and page.removed is not None:
            if session.history.restore(page.removed[0]):
                page.shown = page.removed[0]
            page.removed = None
        elif action == "zip":
            try:
                path = archive(listing.listed(session, page), session.scratch)
            except UpscalerError as error:
                return self.failure(error)
            name = f"Save {path.name}, {amount(path.stat().st_size)}"
            return {self.archive: gr.DownloadButton(name, value=str(path), visible=True)}
        return {}

    def on_convert(self, format: str | None, request: gr.Request) -> Update:
        """The result is wanted in another format."""
        session, page = self.of(request)
        entry = session.history.get(page.shown or "")
        if entry is None or format not in WHOLE_FILES:
            return self.nothing()
        try:
            path = convert(entry.result_path, format, entry.settings, session.scratch)
        except UpscalerError as error:
            return self.failure(error)
        return {**self.no_failure(), self.download: parts.download(path)}

    def _action(self, event: gr.EventData) -> tuple[str, str]:
        """What to do, and with what: the action and the id that a strip has sent."""
        sent = self.sent(event)
        return str(sent.get("action")), str(sent.get("id"))
