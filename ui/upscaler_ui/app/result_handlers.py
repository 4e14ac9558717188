"""What happens to results and to jobs in the queue."""

from __future__ import annotations

from typing import Any

import gradio as gr

from upscaler.errors import UpscalerError
from upscaler.planning import plan
from upscaler.text import amount

from . import listing, looks, parts
from .form import WHOLE_FILES
from .inputs import Input
from .model_handlers import ModelHandlers
from .page import LISTED, Page
from .render import AS_TYPED, PRIVATE, QUIET, Update
from .results import archive, check_result, convert
from .session import Session
from .system import reveal


class ResultHandlers(ModelHandlers):
    """The page with what happens to results, and to jobs in the queue."""

    def wire_results(self) -> None:
        own = self.own
        self.queue.act(self.on_queue, None, own, trigger_mode="multiple", **QUIET)
        self.history.act(self.on_history, self.form.fields, self.everything, trigger_mode="multiple", **AS_TYPED)
        self.convert.input(self.on_convert, self.convert, own, **PRIVATE)

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
