"""What happens on the page of models, and when another diffusion model is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from upscaler.errors import UpscalerError
from upscaler.models import manifest
from upscaler.planning import with_model

from . import library
from .preset_handlers import PresetHandlers
from .render import AS_TYPED, QUEUED, QUIET, Update, sentences
from .system import open_folder


class ModelHandlers(PresetHandlers):
    """The page with what happens to models."""

    def wire_models(self) -> None:
        form, own = self.form, self.own
        chosen = [form.widgets[name].input for name in ("model", "lora")]
        gr.on(chosen, self.on_model, form.fields, self.everything, trigger_mode="always_last", **AS_TYPED)
        gr.on([self.models_open.click, form.more_models.click], self.on_models, None, own, **QUIET)
        self.models_close.click(self.on_models_left, None, own, **QUIET)
        self.models.act(self.on_models_act, None, own, trigger_mode="multiple", **QUIET)
        self.add_model.upload(self.on_add_model, self.add_model, own, **QUEUED)

    def on_model(self, request: gr.Request, *values: Any) -> Update:
        """Another diffusion model or LoRA was chosen: it brings its defaults."""
        session, page = self.of(request)
        before = page.settings
        page.planned = self.planned(page, values)
        if (
            page.settings.diffusion.model == before.diffusion.model
            and page.settings.diffusion.lora == before.diffusion.lora
        ):
            return self.changes(session, page)
        settings = with_model(before, page.settings)
        page.planned = self.planned(page, settings)
        return {**self.changes(session, page), **self.form.updates(settings, size=False)}

    def on_models(self, request: gr.Request) -> Update:
        """The page of models was opened."""
        session, page = self.of(request)
        page.sees_models = True
        page.library += 1
        return self.changes(session, page)

    def on_models_left(self, request: gr.Request) -> Update:
        """The page of models was left."""
        session, page = self.of(request)
        page.sees_models = False
        return self.changes(session, page)

    def on_models_act(self, event: gr.EventData, request: gr.Request) -> Update:
        """A button on the page of models."""
        session, page = self.of(request)
        sent = self.sent(event)
        action, name = sent.get("action"), str(sent.get("name"))
        try:
            if self.sessions.public:
                return self.nothing()
            if action == "fetch":
                entry = manifest.entry(name)
                if entry.free or sent.get("accepted") is True:
                    self.sessions.fetches.start(entry)
            elif action == "stop":
                self.sessions.fetches.stop(name)
            elif action == "folder" and self.local:
                open_folder(library.folder())
        except (UpscalerError, OSError) as error:
            return {self.added: f'<span class="bad">{sentences(error)}</span>'}
        page.library += 1
        return {**self.changes(session, page), self.added: ""}

    def on_add_model(self, request: gr.Request, path: str) -> Update:
        """A file was chosen as a model."""
        session, page = self.of(request)
        if self.sessions.public or not self.local:
            return self.nothing()
        try:
            name = library.add(Path(path))
        except UpscalerError as error:
            return {self.added: f'<span class="bad">{sentences(error)}</span>'}
        page.library += 1
        return {**self.changes(session, page), self.added: f"{name} was added; it can be chosen under Advanced."}
