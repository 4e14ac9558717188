"""The app: one page that builds `Settings`, hands jobs to the worker and shows what becomes of them.

layout.py, form.py  the widgets     desk.py  a user's results and jobs     jobs.py  the thread that runs them
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler.api import plan
from upscaler.errors import UpscalerError
from upscaler.geometry import Box, Size
from upscaler.options import presets
from upscaler.options.settings import Settings
from upscaler.plan import RunPlan

from . import show
from .describe import cause_and_remedy, report
from .desk import Desk, Desks, Input, Page
from .endpoints import add_endpoints
from .form import own_presets, preset_cards
from .history import Entry, check_result, convert
from .layout import FORMATS, Layout
from .system import pictures_in, reveal

_OWN: dict[str, Any] = {"api_visibility": "private"}
_QUIET: dict[str, Any] = {**_OWN, "queue": False, "show_progress": "hidden"}
_AS_TYPED: dict[str, Any] = {**_QUIET, "preprocess": False}
"""For values of the form alone: what is out of range, or not typed to its end, is the form's to say."""

Update = dict[Any, Any]
"""What changes on the page: new values, or components with new properties, by component."""


def build(desks: Desks, *, local: bool = True) -> gr.Blocks:
    """The page.

    Args:
        local: browser and app are on one machine, so that a result can be shown in its folder.
    """
    with gr.Blocks(title="upscaler", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)) as blocks:
        page = _App(desks, local)
        blocks.load(page.on_load, None, page.all, **_QUIET)
    return blocks


class _App(Layout):
    """What happens when the widgets of the page are used."""

    def __init__(self, desks: Desks, local: bool) -> None:
        super().__init__(with_presets=not desks.public)
        self.desks = desks
        self.local = local
        self._wire()
        add_endpoints(self.form, desks)

    def _wire(self) -> None:
        form, fields, own, everything = self.form, self.form.fields, self.own, self.all
        # not `change`: what the program changes, it plans itself, once
        sliders = [widget for widget in form.shown if isinstance(widget, gr.Slider)]
        used = [*(widget.input for widget in fields), *(slider.release for slider in sliders)]
        gr.on(used, self.on_plan, fields, own, trigger_mode="always_last", **_AS_TYPED)
        self.files.change(self.on_files, [self.files, *fields], everything, **{**_QUIET, "queue": True})
        self.folder.upload(pictures_in, self.folder, self.files, **_QUIET)
        self.paste.upload(lambda path: [path], self.paste, self.files, **_QUIET)
        self.overlay.change(self.on_overlay, self.overlay, own, **_QUIET)
        self.viewer.mark(self.on_mark, None, own, **_QUIET)
        self.run.click(self.on_run, fields, own, **_AS_TYPED)
        self.preview.click(self.on_preview, fields, own, **_AS_TYPED)
        self.stop.click(self.on_stop, None, own, trigger_mode="multiple", **_QUIET)
        self.timer.tick(self.on_tick, None, own, trigger_mode="once", **_QUIET)
        self.queue.act(self.on_job, None, own, trigger_mode="multiple", **_QUIET)
        self.history.act(self.on_entry, fields, everything, trigger_mode="multiple", **_AS_TYPED)
        self.overview.select(self.on_zoom, None, own, **_QUIET)
        self.other.input(self.on_other, self.other, own, **_OWN)
        form.cards.choose(self.on_choose, fields, everything, **_AS_TYPED)
        self.preset_save.click(self.on_save_preset, [self.preset_name, *fields], everything, **_AS_TYPED)
        self.preset_own.change(self.on_pick_preset, self.preset_own, own, **_QUIET)
        self.preset_delete.click(self.on_delete_preset, self.preset_own, everything, **_QUIET)
        self.preset_import.upload(self.on_import_preset, self.preset_import, everything, **_QUIET)

    # what happens

    def on_load(self, request: gr.Request) -> Update:
        """A page was opened: show what the desk has."""
        desk, page = self._of(request)
        page.told.clear()
        own = gr.Dropdown(own_presets())
        return {**self._shown(desk, page), self.form.cards: preset_cards(), self.preset_own: own}

    def on_tick(self, request: gr.Request) -> Update:
        """Some time has passed: show what has changed."""
        return self._shown(*self._of(request))

    def on_files(self, request: gr.Request, paths: list[str] | None, *values: Any) -> Update:
        """Other pictures were chosen."""
        desk, page = self._of(request)
        page.choose([Path(path) for path in paths or []], self.form.max_pixels(values))
        stored = page.inputs[0].settings if len(page.inputs) == 1 else None
        page.planned = self._planned(page, stored or values)
        update = {**self._shown(desk, page), **self._inputs(page), self.tabs: gr.Tabs(selected="picture")}
        if stored is not None:
            update |= self.form.updates(stored)
        return update

    def on_plan(self, request: gr.Request, *values: Any) -> Update:
        """Settings were changed: say what a run would do."""
        desk, page = self._of(request)
        update: Update = {}
        if page.limit(self.form.max_pixels(values)):
            update = self._inputs(page)
        page.planned = self._planned(page, values)
        return {**self._shown(desk, page), **update}

    def on_overlay(self, request: gr.Request, overlay: str) -> Update:
        """Tiles or seams are wanted over the picture."""
        desk, page = self._of(request)
        page.overlay = overlay
        return self._shown(desk, page)

    def on_mark(self, event: gr.EventData, request: gr.Request) -> Update:
        """An area was marked in the picture."""
        desk, page = self._of(request)
        page.region = show.fractions((event._data or {}).get("region"))
        return self._shown(desk, page)

    def on_run(self, request: gr.Request, *values: Any) -> Update:
        """Enlarge all chosen pictures."""
        desk, page = self._of(request)
        try:
            settings = self.form.settings(values)
            if not page.good:
                raise UpscalerError("there is no picture to enlarge; drop one on the left, paste one, or browse")
            for item in page.good:
                check_result(plan(item.size, settings).target, settings)
            page.follow(desk.start(page.good, settings))
        except UpscalerError as error:
            return self._failure(error)
        return {**self._shown(desk, page), **self._no_failure(), self.tabs: gr.Tabs(selected="picture")}

    def on_preview(self, request: gr.Request, *values: Any) -> Update:
        """Run the marked area of the first picture alone."""
        desk, page = self._of(request)
        if not page.good or page.region is None:
            return self._unchanged()
        try:
            settings = self.form.settings(values)
            target = plan(page.good[0].size, settings).target
            page.follow([desk.preview(page.good[0], settings, _in_pixels(page.region, target))])
        except UpscalerError as error:
            return self._failure(error)
        return {**self._shown(desk, page), **self._no_failure(), self.tabs: gr.Tabs(selected="picture")}

    def on_stop(self, request: gr.Request) -> Update:
        """Stop what was started on this page."""
        desk, page = self._of(request)
        for job in page.jobs:
            job.stop()
        return self._shown(desk, page)

    def on_job(self, event: gr.EventData, request: gr.Request) -> Update:
        """A button of a job in the queue."""
        desk, page = self._of(request)
        action, id = _action(event)
        job = desk.job(id)
        update: Update = {}
        if job is None:
            pass
        elif action == "stop":
            job.stop()
        elif action == "remove" and job.state.over:
            desk.forget(job)
        elif action == "show" and job.error is not None:
            update = self._failure(job.error, job.settings)
        elif action == "show" and not job.state.over:
            if job not in page.jobs:  # started by a page that was closed or loaded again
                page.follow([job])
            update = {self.tabs: gr.Tabs(selected="picture")}
        return {**self._shown(desk, page), **update}

    def on_entry(self, event: gr.EventData, request: gr.Request, *values: Any) -> Update:
        """A button of a result in the history."""
        desk, page = self._of(request)
        action, id = _action(event)
        entry = desk.history.get(id)
        update: Update = {}
        if entry is None:
            pass
        elif action == "show":
            page.shown = id
            update = {**self._no_failure(), self.tabs: gr.Tabs(selected="slider")}
        elif action == "remove":
            desk.history.remove(id)
            page.shown = None if page.shown == id else page.shown
        elif action == "restore":
            settings = Settings.from_dict(entry.settings)
            page.planned = self._planned(page, settings)
            update = self.form.updates(settings)
        elif action == "input":
            try:
                update = {self.files: [str(desk.held(entry.result_path))]}  # it may be removed before it is handed over
            except UpscalerError as error:
                update = self._failure(error)
        elif action == "reveal" and self.local:
            reveal(entry.result_path)
        elif action == "rerun":
            try:
                settings = self.form.settings(values)
                check_result(plan(entry.source_size, settings).target, settings)
                page.follow(desk.start([Input(entry.source_path, entry.name)], settings))
                update = {self.tabs: gr.Tabs(selected="picture")}
            except UpscalerError as error:
                update = self._failure(error)
        return {**self._shown(desk, page), **update}

    def on_zoom(self, event: gr.SelectData, request: gr.Request) -> Update:
        """A place to look at in full size was clicked."""
        desk, page = self._of(request)
        entry = desk.history.get(page.shown or "")
        if entry is None:
            return self._unchanged()
        try:
            before, after = entry.parts(event.index)
        except UpscalerError as error:
            return self._failure(error)
        return {self.before: before, self.after: after}

    def on_other(self, format: str | None, request: gr.Request) -> Update:
        """The result is wanted in another format."""
        desk, page = self._of(request)
        entry = desk.history.get(page.shown or "")
        if entry is None or format not in FORMATS:
            return self._unchanged()
        try:
            path = convert(entry, format, desk.scratch)
        except UpscalerError as error:
            return self._failure(error)
        return {**self._no_failure(), self.download: show.download(path)}

    def on_choose(self, event: gr.EventData, request: gr.Request, *values: Any) -> Update:
        """A preset card was clicked."""
        desk, page = self._of(request)
        try:
            preset = presets.get(str((event._data or {}).get("name")))
            settings = preset.over(self.form.settings(values))
        except UpscalerError as error:
            return self._failure(error)
        page.planned = self._planned(page, settings)
        look = self.form.updates(settings, chosen=preset.name, size=False)
        return {**self._shown(desk, page), **self._no_failure(), **look}

    def on_save_preset(self, name: str, *values: Any) -> Update:
        return self._presets_after(lambda: presets.save(name, self.form.settings(values, size=False)).name)

    def on_delete_preset(self, name: str | None) -> Update:
        return self._presets_after(lambda: presets.delete(name or ""))

    def on_import_preset(self, path: str) -> Update:
        return self._presets_after(lambda: presets.store(presets.from_json(_text_of(Path(path)))).name)

    def on_pick_preset(self, name: str | None, request: gr.Request) -> Update:
        """One of the user's presets was picked: it can be exported."""
        if not name:
            return {self.preset_export: gr.DownloadButton(interactive=False)}
        preset = presets.get(name)
        path = self.desks.scratch / f"{preset.name}.json"
        path.write_text(presets.to_json(preset), "utf-8")
        return {self.preset_export: gr.DownloadButton(value=str(path), interactive=True)}

    # what is shown

    def _of(self, request: gr.Request) -> tuple[Desk, Page]:
        page = str(request.session_hash)
        return self.desks.desk(request.username, page), self.desks.page(page)

    def _planned(self, page: Page, values: Sequence[Any] | Settings) -> tuple[RunPlan, Settings] | UpscalerError | None:
        """What a run of the first picture would do."""
        try:
            settings = values if isinstance(values, Settings) else self.form.settings(values)
            return (plan(page.good[0].size, settings), settings) if page.good else None
        except UpscalerError as error:
            return error

    def _shown(self, desk: Desk, page: Page) -> Update:
        """Whatever of the page is not as it was when it was last told."""
        ended = [job for job in page.jobs if job.state.over and job.id not in page.over]
        update = self._unchanged()
        part: tuple[Path, ...] = ()
        for job in ended:
            page.over.add(job.id)
            if job.error is not None:
                update |= self._failure(job.error, job.settings)
            elif job.region is not None and job.files:
                part, page.shown = job.files, None
                update |= {self.tabs: gr.Tabs(selected="slider")}
            elif desk.history.get(job.id) is not None:
                page.shown = job.id
                update |= {self.tabs: gr.Tabs(selected="slider")}
        entry = desk.history.get(page.shown or "")
        busy = any(not job.state.over for job in desk.jobs)
        own = entry is None or entry.id in {job.id for job in page.jobs}
        can_preview = own and page.region is not None and bool(page.good) and not page.busy
        values = {
            self.viewer: show.viewer(page, entry),
            self.plan: show.plan_line(page),
            self.status: show.status(page, self.desks.worker),
            self.queue: show.queue(desk),
            self.history: show.history(desk, page, self.local),
        }
        flags = {
            self.timer: (gr.Timer, {"active": busy}),
            self.stop: (gr.Button, {"interactive": page.busy}),
            self.preview: (gr.Button, {"interactive": can_preview}),
            self.result: (gr.Row, {"visible": entry is not None}),
        }
        update |= {part: value for part, value in values.items() if page.new(str(part.elem_id), value)}
        update |= {part: kind(**state) for part, (kind, state) in flags.items() if page.new(str(part._id), state)}
        if page.new("entry", entry and entry.id):
            update |= self._result(entry)
        if part:
            update |= {self.slider: tuple(map(str, part))}
        return update

    def _result(self, entry: Entry | None) -> Update:
        if entry is None:
            return dict.fromkeys((self.slider, self.overview, self.before, self.after))
        before, after, overview = (entry.view(name) for name in ("before", "after", "overview"))
        try:
            parts = entry.parts(None)
        except UpscalerError:  # its original could not be kept
            parts = None, None
        return {
            self.slider: (str(before), str(after)) if before and after else None,
            self.overview: overview and str(overview),
            self.before: parts[0],
            self.after: parts[1],
            self.download: show.download(entry.result_path),
            self.other: "",
        }

    def _inputs(self, page: Page) -> Update:
        """What the chosen pictures are, and why one of them cannot be read."""
        update = self._no_failure()
        for item in page.inputs:
            if item.error is not None:
                update |= self._failure(item.error)
        return {**update, self.facts: show.facts(page)}

    def _failure(self, error: BaseException, settings: Settings | None = None) -> Update:
        cause, remedy = (html.escape(part) for part in cause_and_remedy(error))
        return {
            self.error: gr.Column(visible=True),
            self.message: f"<b>{cause}</b> {remedy}",
            self.report: report(error, settings),
        }

    def _unchanged(self) -> Update:
        return {self.timer: gr.skip()}  # Gradio takes an empty update for a mistake

    def _no_failure(self) -> Update:
        return {self.error: gr.Column(visible=False)}

    def _presets_after(self, change: Callable[[], str | None]) -> Update:
        """The presets, after one was added or taken away."""
        if self.desks.public:
            return self._unchanged()
        try:
            name = change()
        except UpscalerError as error:
            return self._failure(error)
        own = gr.Dropdown(own_presets(), value=name)
        return {**self._no_failure(), self.form.cards: preset_cards(), self.preset_own: own}


def _action(event: gr.EventData) -> tuple[str, str]:
    """What is wanted, and of what: the action and the id that a strip has sent."""
    sent = event._data if isinstance(event._data, dict) else {}
    return str(sent.get("action")), str(sent.get("id"))


def _in_pixels(region: tuple[float, float, float, float], size: Size) -> Box:
    """The box of whole pixels that the fractions of a picture touch."""
    left, top = int(region[0] * size.width), int(region[1] * size.height)
    right, bottom = math.ceil(region[2] * size.width), math.ceil(region[3] * size.height)
    return Box(left, top, min(max(right, left + 1), size.width), min(max(bottom, top + 1), size.height))


def _text_of(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(presets.LARGEST + 1).decode("utf-8", "replace")
