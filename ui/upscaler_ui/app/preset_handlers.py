"""What happens when presets are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler.errors import UpscalerError
from upscaler.options import presets

from .render import AS_TYPED, QUIET, Screen, Update


class PresetHandlers(Screen):
    """The page with what happens to presets."""

    def wire_presets(self) -> None:
        form, fields, own, everything = self.form, self.form.fields, self.own, self.everything
        form.cards.choose(self.on_choose_preset, fields, everything, trigger_mode="multiple", **AS_TYPED)
        self.preset_save.click(self.on_save_preset, [self.preset_name, *fields], everything, **AS_TYPED)
        self.preset_own.change(self.on_pick_preset, self.preset_own, own, **QUIET)
        self.preset_delete.click(self.on_delete_preset, self.preset_own, everything, **QUIET)
        self.preset_import.upload(self.on_import_preset, self.preset_import, everything, **QUIET)

    def on_choose_preset(self, event: gr.EventData, request: gr.Request, *values: Any) -> Update:
        """A preset card was clicked."""
        session, page = self.of(request)
        try:
            preset = presets.get(str(self.sent(event).get("name")))
            settings = preset.over(self.settings(values, page.readable[0] if page.readable else None))
        except UpscalerError as error:
            return self.failure(error)
        page.look = preset.name
        page.planned = self.planned(page, settings)
        return {**self.changes(session, page), **self.no_failure(), **self.form.updates(settings, size=False)}

    def on_save_preset(self, request: gr.Request, name: str, *values: Any) -> Update:
        """Save the settings of the form as a preset."""
        return self._presets_after(request, lambda: presets.save(name, self.form.settings(values, size=False)).name)

    def on_delete_preset(self, request: gr.Request, name: str | None) -> Update:
        """Delete one of the user's presets."""
        return self._presets_after(request, lambda: presets.delete(name or ""))

    def on_import_preset(self, request: gr.Request, path: str) -> Update:
        """Save a preset that was exported."""
        return self._presets_after(request, lambda: presets.store(presets.from_file(Path(path))).name)

    def on_pick_preset(self, name: str | None, request: gr.Request) -> Update:
        """One of the user's presets was picked: it can be exported."""
        if not name:
            return {self.preset_export: gr.DownloadButton(interactive=False)}
        preset = presets.get(name)
        path = self.sessions.scratch / f"{preset.name}.json"
        path.write_text(presets.to_json(preset), "utf-8")
        return {self.preset_export: gr.DownloadButton(value=str(path), interactive=True)}

    def _presets_after(self, request: gr.Request, change: Callable[[], str | None]) -> Update:
        """The presets, after one was added or taken away."""
        if self.sessions.public:
            return self.nothing()
        try:
            name = change()
        except UpscalerError as error:
            return self.failure(error)
        session, page = self.of(request)
        page.look = name or page.look
        return {**self.changes(session, page), **self.no_failure(), **self.presets(name)}
