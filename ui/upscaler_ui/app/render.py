"""The page as it is drawn again: which of its components change when the state behind it has changed."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any, cast

import gradio as gr

from upscaler.errors import UpscalerError
from upscaler.options.settings import Settings
from upscaler.plan import RunPlan
from upscaler.planning import plan

from . import library, listing, looks, parts, showing
from .failures import cause_and_remedy, report
from .form import CREATIVITY_HELP
from .history import Entry
from .inputs import Input
from .layout import SLOW_TICK, TICK, Layout
from .page import Page
from .session import Session
from .sessions import Sessions

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "queue": False, "show_progress": "hidden"}
AS_TYPED: dict[str, Any] = {**QUIET, "preprocess": False}
"""For values of the form alone, which it checks itself, also when they are half typed."""

QUEUED: dict[str, Any] = {**QUIET, "queue": True}
"""For what may take some seconds."""

Properties = dict[Any, tuple[Callable[..., Any], dict[str, Any]]]
"""Kinds of components with properties, by component."""

Update = dict[Any, Any]
"""What changes on the page: new values, or components with new properties, by component."""


def sentences(error: BaseException) -> str:
    """What went wrong, and what to do."""
    cause, remedy = (html.escape(part) for part in cause_and_remedy(error))
    return f"<b>{cause}</b> {remedy}"


class Screen(Layout):
    """The widgets of the page, and what they show of a session.

    Args:
        local: browser and app are on one machine, so that a result can be shown in its folder.
    """

    def __init__(self, sessions: Sessions, local: bool) -> None:
        super().__init__(one_user=not sessions.public)
        self.sessions = sessions
        self.local = local

    def of(self, request: gr.Request) -> tuple[Session, Page]:
        """The session and the page that a request comes from."""
        page = str(request.session_hash)
        return self.sessions.session(request.username, page), self.sessions.page(page)

    def planned(self, page: Page, values: Sequence[Any] | Settings) -> tuple[RunPlan, Settings] | UpscalerError | None:
        """What a run of the first picture would do; `None` without a picture."""
        first = page.readable[0] if page.readable else None
        try:
            settings = self.settings(values, first)
            page.settings = settings
            return (plan(first.size, settings), settings) if first else None
        except UpscalerError as error:
            return error if first else None

    def settings(self, values: Sequence[Any] | Settings, item: Input | None) -> Settings:
        """The settings that values of the form mean for a picture. Raises: `SettingsError`."""
        return values if isinstance(values, Settings) else self.form.settings(values, source=item and item.size)

    def changes(self, session: Session, page: Page) -> Update:
        """Whatever the browser does not show yet."""
        update = self.nothing()
        for job in [job for job in page.jobs if job.state.over and job.id not in page.reported]:
            page.reported.add(job.id)
            if job.error is not None:
                update |= self.failure(job.error, job.settings)
            elif job.region is not None and job.shown is not None:
                page.shown = None
            elif session.history.get(job.id) is not None:
                page.shown = job.id
        entry = session.history.get(page.shown or "")
        busy = any(not job.state.over for job in session.jobs)
        can_preview = isinstance(page.planned, tuple) and not page.busy
        look, settings = page.look, page.settings
        first = page.readable[0] if page.readable else None
        no_creativity = looks.why_no_creativity(settings)
        values = {
            self.form.cards: looks.cards(
                look, changed=looks.is_changed(look, settings), suggestion=first.suggestion if first else None
            ),
            self.viewer: showing.viewer(page, entry),
            self.plan: parts.plan_line(page),
            self.status: self.status_line(session, page),
            self.queue: listing.queue(session),
            self.history: listing.history(session, page, self.local),
            self.sheet: listing.sheet(page),
        }
        rests = session.worker.paused and not any(job.stopping for job in session.jobs)
        fetches = page.sees_models and self.sessions.fetches.busy
        properties: Properties = {
            self.timer: (gr.Timer, {"value": SLOW_TICK if rests and not fetches else TICK, "active": busy or fetches}),
            self.stop: (gr.Button, {"interactive": page.busy}),
            self.pause: (gr.Button, {"interactive": busy, "value": "Resume" if session.worker.paused else "Pause"}),
            self.preview: (gr.Button, {"interactive": can_preview, "value": parts.preview_label(page)}),
            self.compare: (gr.Button, {"interactive": can_preview}),
            self.result: (gr.Row, {"visible": entry is not None}),
            **self._library(page),
            self.form.words: (gr.Column, {"visible": looks.reads_prompt(settings.diffusion.model)}),
            self.form.creativity: (
                gr.Slider,
                {"interactive": not no_creativity, "info": no_creativity or CREATIVITY_HELP},
            ),
        }
        update |= {part: value for part, value in values.items() if page.send(str(part.elem_id), value)}
        update |= {part: kind(**state) for part, (kind, state) in properties.items() if page.send(str(part._id), state)}
        if page.sees_models:
            values = library.listed(self.sessions.fetches, local=self.local, owned=not self.sessions.public)
            update |= {self.models: values} if page.send("models", values) else {}
        if page.send("entry", entry and entry.id):
            update |= self._result(entry)
        return update

    def status_line(self, session: Session, page: Page) -> str:
        """How far the job at work is, or how it ended."""
        return parts.status(page, self.sessions.worker)

    def _library(self, page: Page) -> Properties:
        """The models that can be chosen, and the settings of theirs; looked for when either may have changed."""
        chosen = page.settings.diffusion
        if not page.send(
            "library", (page.library, self.sessions.fetches.arrived, chosen.model, chosen.control, chosen.lora)
        ):
            return {}
        family, form = library.family_of(chosen.model), self.form
        lists = {name: (gr.Dropdown, {"choices": choices}) for name, choices in form.choices(family).items()}
        shown = library.adapters_shown(page.settings)
        return {
            **{form.widgets[name]: properties for name, properties in lists.items()},
            **{form.groups[title]: (gr.Accordion, {"visible": shown[title]}) for title in shown},
            form.widgets["lora"]: (gr.Textbox, {"info": library.about_loras(family)}),
        }

    def _result(self, entry: Entry | None) -> Update:
        """What there is to download."""
        if entry is None or not entry.result_path.is_file():
            return {}
        return {self.download: parts.download(entry.result_path), self.convert: ""}

    def inputs(self, page: Page) -> Update:
        """What the chosen pictures are, and why one of them cannot be read."""
        update = self.no_failure()
        for item in page.inputs:
            if item.error is not None:
                update |= self.failure(item.error)
        return {**update, self.facts: parts.facts(page)}

    def presets(self, chosen: str | None = None) -> Update:
        """The presets that there are."""
        return {self.preset_own: gr.Dropdown(looks.names_of_own(), value=chosen)}

    def failure(self, error: BaseException, settings: Settings | None = None) -> Update:
        """What went wrong, what to do, and a report."""
        return {
            self.error: gr.Column(visible=True),
            self.message: sentences(error),
            self.report: report(error, settings),
        }

    def no_failure(self) -> Update:
        """Nothing that went wrong."""
        return {self.error: gr.Column(visible=False)}

    @staticmethod
    def sent(event: gr.EventData) -> dict[str, Any]:
        """What a component of our own has sent with an event; it comes from a browser and may be anything."""
        data = event._data  # pyright: ignore[reportPrivateUsage]
        return cast("dict[str, Any]", data) if isinstance(data, dict) else {}

    def nothing(self) -> Update:
        """No change; Gradio takes an empty update for a mistake."""
        return {self.timer: gr.skip()}
