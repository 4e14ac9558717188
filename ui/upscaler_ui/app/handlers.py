"""What happens when the page is used. A handler changes the state of the session and returns what changes on the page.

layout.py, form.py  the widgets     session.py  what a user has     jobs.py  the thread that runs jobs     render.py  drawing
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler.errors import UpscalerError
from upscaler.geometry import Box
from upscaler.options import presets
from upscaler.options.settings import Settings
from upscaler.planning import plan

from . import looks, parts
from .endpoints import add_endpoints
from .form import WORDS
from .inputs import Input, painted_mask
from .page import Page
from .render import AS_TYPED, QUEUED, QUIET, Update
from .result_handlers import ResultHandlers
from .results import check_result
from .sessions import Sessions
from .system import pictures_in


def build(sessions: Sessions, *, local: bool = True) -> gr.Blocks:
    """The page.

    Args:
        local: browser and app are on one machine, so that a result can be shown in its folder.
    """
    with gr.Blocks(title="upscaler", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)) as blocks:
        page = Handlers(sessions, local)
        blocks.load(page.on_load, None, page.everything, **QUIET)
    return blocks


class Handlers(ResultHandlers):
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
        models = (form.widgets["model"], form.widgets["lora"])
        used = [
            *(widget.input for widget in fields if widget not in (*ways, *models)),
            *(slider.release for slider in sliders),
        ]
        gr.on(used, self.on_plan, fields, own, trigger_mode="always_last", **AS_TYPED)
        gr.on([way.input for way in ways], self.on_way, fields, everything, trigger_mode="always_last", **AS_TYPED)
        self.files.change(self.on_files, [self.files, *fields], everything, **QUEUED)
        self.folder.upload(pictures_in, self.folder, self.files, **QUIET)
        self.paste.upload(self.on_paste, self.paste, self.files, **QUIET)
        self.compare.click(self.on_compare, fields, own, **AS_TYPED)
        # those that bring data of their own come one by one: of the last of several, Gradio would send the data of the first
        self.sheet.choose(self.on_choose_preset, fields, everything, trigger_mode="multiple", **AS_TYPED)
        self.viewer.mark(self.on_mark, None, own, trigger_mode="multiple", **QUIET)
        self.viewer.paint(self.on_paint, None, own, trigger_mode="multiple", **QUIET)
        self.form.add_region.click(self.on_add_region, fields, everything, **AS_TYPED)
        self.run.click(self.on_run, fields, own, **AS_TYPED)
        self.preview.click(self.on_preview, fields, own, **AS_TYPED)
        self.stop.click(self.on_stop, None, own, trigger_mode="multiple", **QUIET)
        if not self.sessions.public:
            self.pause.click(self.on_pause, None, own, trigger_mode="multiple", **QUIET)
        self.timer.tick(self.on_tick, None, own, trigger_mode="once", **QUIET)
        self.wire_results()
        self.wire_presets()
        self.wire_models()

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

    def on_add_region(self, request: gr.Request, *values: Any) -> Update:
        """The marked area gets a prompt of its own: its place is added to the regions, and waits for the words."""
        session, page = self.of(request)
        if page.region is None:
            return self.failure(UpscalerError("there is no marked area; press Mark an area, and drag over the picture"))
        widget = self.form.widgets["tile_prompt"]
        fields = self.form.fields
        before = str(values[fields.index(widget)] or "").rstrip()
        place = ",".join(f"{100 * side:.0f}" for side in page.region)
        lines = [*([before] if before else []), f"{place}: {WORDS}"]
        text = "\n".join(lines)
        page.planned = self.planned(page, [text if field is widget else value for field, value in zip(fields, values)])
        return {**self.changes(session, page), **self.no_failure(), widget: text}

    def on_run(self, request: gr.Request, *values: Any) -> Update:
        """Enlarge all chosen pictures."""
        session, page = self.of(request)
        try:
            if not page.inputs:
                raise UpscalerError("there is no picture to enlarge; open one, drop one here, or paste one")
            if not page.readable:
                return self.inputs(page)
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

    def on_pause(self, request: gr.Request) -> Update:
        """Let all jobs rest, or go on."""
        session, page = self.of(request)
        if session.worker.paused:
            session.worker.resume()
        else:
            session.worker.pause()
        return self.changes(session, page)
