"""The page as it is in the window: pictures are chosen by the window, and its results lie where the user wants them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler.errors import UpscalerError
from upscaler.folders import read_object, replace_text, state_folder
from upscaler.options.presets import Preset
from upscaler.options.settings import Settings
from upscaler.text import count

from ..app import looks
from ..app.components import component
from ..app.handlers import Handlers
from ..app.page import Page
from ..app.render import AS_TYPED, Update
from ..app.session import Session
from ..app.sessions import Sessions
from .session import DesktopSession, for_other_pictures

ASSETS = Path(__file__).parent / "assets"
_SHOWN_NAMES = 3


def build_desktop(sessions: Sessions, *, local: bool = True, window: bool = True) -> gr.Blocks:
    """The page.

    Args:
        window: there is a window around it that answers `window.upscaler`; without one it is a page in a browser, which
            takes uploads too.
    """
    with gr.Blocks(title="upscaler", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)) as blocks:
        page = DesktopPage(sessions, local, window)
        blocks.load(page.on_load, page.form.fields, page.everything, **AS_TYPED)
    return blocks


class DesktopPage(Handlers):
    """The page with what a window adds."""

    def __init__(self, sessions: Sessions, local: bool, window: bool) -> None:
        self._window = window
        self._looked: dict[str, int] = {}
        super().__init__(sessions, local)
        everything, fields = self.everything, self.form.fields
        self.bar.look(self.on_look, fields, everything, **{**AS_TYPED, "queue": True})
        gr.on([self.run.click, self.preview.click], self._remember, fields, None, **AS_TYPED)

    def choice(self) -> None:
        self.bar = component("bar", {"window": self._window}, folder=ASSETS, elem_id="bar")
        with gr.Column(elem_id="uploads"):
            super().choice()

    def outcome(self) -> None:
        self.saved = component("saved", {"window": self._window}, folder=ASSETS, elem_id="saved")
        with gr.Column(elem_id="downloads"):
            super().outcome()

    def on_load(self, request: gr.Request, *values: Any) -> Update:
        """A page was opened: show what the session has, the settings of the last run, and the pictures that were chosen."""
        update = super().on_load(request)
        settings = last_settings()
        if settings is not None:
            page = self.of(request)[1]
            page.settings, page.look = settings, looks.look_of(settings)
            update |= {**self.changes(*self.of(request)), **self.form.updates(settings)}
        session, _ = self._session(request)
        if session.choice[1]:
            update |= self._look(request, settings or values)
        return update

    def on_look(self, request: gr.Request, *values: Any) -> Update:
        """The window says that something was chosen: pictures, where results go, or to go on with what was left."""
        session, page = self._session(request)
        if self._looked.get(str(request.session_hash), 0) == session.choice[0]:
            return self.changes(session, page)
        return self._look(request, values)

    def _look(self, request: gr.Request, values: Any) -> Update:
        session, _ = self._session(request)
        number, paths = session.choice
        self._looked[str(request.session_hash)] = number
        if isinstance(values, Settings):
            session, page = self._session(request)
            page.choose(paths, values.output.pixel_limit)
            page.planned = self.planned(page, values)
            return {**self.changes(session, page), **self.inputs(page)}
        return super().on_files(request, [str(path) for path in paths], *values)

    @staticmethod
    def _follow(session: DesktopSession, page: Page) -> None:
        """Look at the jobs that no page has started, or one that is gone, or the watch: this one can stop them."""
        jobs = [job for job in session.jobs if not job.state.over and job not in page.jobs]
        if jobs:
            page.follow(jobs)

    def on_files(self, request: gr.Request, paths: list[str] | None, *values: Any) -> Update:
        if self._window and not paths:  # the list of uploads, which nobody sees, was emptied
            return self.nothing()
        return super().on_files(request, paths, *values)

    def on_run(self, request: gr.Request, *values: Any) -> Update:
        session, _ = self._session(request)
        session.skipped = 0
        with session.queue.together():
            return super().on_run(request, *values)

    def changes(self, session: Session, page: Page) -> Update:
        assert isinstance(session, DesktopSession)
        self._follow(session, page)
        update = super().changes(session, page)
        session.shown = page.shown
        values = {self.bar: self._bar_value(session, page), self.saved: self._saved_value(session, page)}
        return update | {part: value for part, value in values.items() if page.send(str(part.elem_id), value)}

    def status_line(self, session: Session, page: Page) -> str:
        """With how many pictures of the last run were left out."""
        assert isinstance(session, DesktopSession)
        line, left_out = super().status_line(session, page), session.skipped
        if not left_out:
            return line
        has, is_ = ("has", "is") if left_out == 1 else ("have", "are")
        note = f"{count(left_out, 'picture')} already {has} a result and {is_} left out."
        return f'{line}{"<br>" if line else ""}<span class="quiet">{note}</span>'

    def _bar_value(self, session: DesktopSession, page: Page) -> dict[str, Any]:
        paths = [item.path for item in page.inputs]
        names = [path.name for path in paths[:_SHOWN_NAMES]]
        if len(paths) > _SHOWN_NAMES:
            names.append(f"and {len(paths) - _SHOWN_NAMES:,} more")
        own = bool(paths) and session.granted(paths[0])
        folder = _shown(_common_folder(paths)) if own else "pasted, or a result of before" if paths else ""
        place = _shown(session.place) if session.place else ""
        watched = [_shown(session.watched[0]), session.watched[1]] if session.watched else None
        more = {"watched": watched, "number": session.choice[0]}
        return {"window": self._window, "names": names, "folder": folder, "place": place, **more}

    def _saved_value(self, session: DesktopSession, page: Page) -> dict[str, Any]:
        entry = session.history.get(page.shown or "")
        if entry is None:
            return {"window": self._window}
        saved = session.saved(entry)
        value = {"window": self._window, "id": entry.id, "name": "", "folder": "", "complete": entry.complete}
        return value if saved is None else {**value, "name": saved.name, "folder": _shown(saved.parent)}

    def _session(self, request: gr.Request) -> tuple[DesktopSession, Page]:
        session, page = self.of(request)
        assert isinstance(session, DesktopSession)
        return session, page

    def _remember(self, *values: Any) -> None:
        with suppress(UpscalerError, OSError):
            settings = for_other_pictures(self.form.settings(values))
            replace_text(_settings_file(), json.dumps(settings.to_dict()))


def _settings_file() -> Path:
    return state_folder() / "desktop-settings.json"


def last_settings() -> Settings | None:
    values = read_object(_settings_file())
    try:
        return Settings.from_dict(values) if values else None
    except (UpscalerError, TypeError, ValueError, KeyError, AttributeError):  # of another version
        return None


def settings_in_look(preset: Preset | None) -> Settings:
    """The settings of the last run, or a look over them; what was said of the last picture is not said of others then."""
    last = last_settings() or Settings()
    return last if preset is None else preset.over(last.but(prompt="", negative=""))


def _common_folder(paths: list[Path]) -> Path:
    """The one that all of these are in, or below."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # on several drives
        return paths[0].parent


def _shown(folder: Path) -> str:
    """A folder as people write it."""
    try:
        return str(Path("~", folder.relative_to(Path.home())))
    except ValueError:
        return str(folder)
