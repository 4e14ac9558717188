"""What programs call over HTTP: `upscale`, `plan`, `list_models` and `cancel`, with flat, typed and named parameters."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from upscaler import planning, timing, weights
from upscaler.describe import model_values, plan_values
from upscaler.errors import Cancelled, SettingsError, UpscalerError
from upscaler.geometry import Size
from upscaler.options import presets
from upscaler.options.settings import Settings

from ..controls import control
from .failures import cause_and_remedy
from .form import Form
from .job import State
from .session import Session
from .sessions import Sessions

_JOB = re.compile(r"[0-9a-f]{32}")
_LOOK = 0.1  # seconds between two looks at a job
_LARGEST_SIDE = 1_000_000


def add_endpoints(form: Form, sessions: Sessions) -> None:
    """Add the endpoints to the page being built. The widgets that they take their types from are not on the page."""
    calls = _Endpoints(form, sessions)
    with gr.Column(visible=False):
        image = gr.File(type="filepath", label="picture")
        result = gr.File(label="result")
        about = gr.JSON(label="about")
        preset = gr.Textbox("", label="name of a preset, or nothing")
        job = gr.Textbox("", label="32 hexadecimal digits to cancel it by, or nothing")
        width, height = (gr.Number(512, precision=0, label="of the picture") for _ in range(2))
        # a field that may be left out needs a value that means so
        widgets = {name: control(option, 0 if option.optional else None) for name, option in form.table.items()}
        button = gr.Button()
    button.click(
        calls.upscale,
        [image, preset, job],
        [result, about],
        inputs_kwargs=widgets,
        api_name="upscale",
        concurrency_limit=None,
        api_description="Enlarge a picture. Returns the file, and how it was made.",
    )
    button.click(
        calls.plan,
        [width, height, preset],
        about,
        inputs_kwargs=widgets,
        api_name="plan",
        queue=False,
        api_description="What a run would do to a picture of that size.",
    )
    button.click(
        calls.list_models, None, about, api_name="list_models", queue=False, api_description="The installed models."
    )
    button.click(
        calls.cancel,
        job,
        gr.Checkbox(visible=False),
        api_name="cancel",
        queue=False,
        api_description="Stop the run with that id. Returns whether there was one.",
    )


class _Endpoints:
    """The functions behind the endpoints; Gradio reads the names of parameters from them."""

    def __init__(self, form: Form, sessions: Sessions) -> None:
        self._form = form
        self._sessions = sessions
        self._planner = ThreadPoolExecutor(
            1, thread_name_prefix="plan"
        )  # one at a time, and none of the page's threads

    async def upscale(  # many may wait at the same time, and the page needs the threads
        self,
        image: str,
        preset: str,
        job: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio wants it
        **values: Any,
    ) -> tuple[str, dict[str, Any]]:
        with _readable_errors():
            settings = self._settings(preset, values)
            if not image:
                raise SettingsError("image: missing; send a picture")
            if job and not _JOB.fullmatch(job):
                raise SettingsError(f"job: {job[:40]!r} is not an id; give 32 hexadecimal digits, or leave it out")
            if job and not self._sessions.exchange.take_id(job):
                raise SettingsError(f"job: {job} was the id of another call; give a new one, or leave it out")
            work = self._session(request).run(Path(image), settings, job or secrets.token_hex(16))
            self._sessions.exchange.let_go(Path(image))  # the job has its own
            try:
                while not work.state.over:
                    await asyncio.sleep(_LOOK)
                    if _is_gone():
                        raise Cancelled("the caller is gone; the run was stopped")
                    if work.progress is not None and work.forecast is not None:
                        progress(work.forecast.fraction, desc=work.progress.stage.label)
            finally:
                work.stop()
            if work.error is not None:
                raise work.error
            if work.state is State.STOPPED:
                raise Cancelled("the run was stopped; there is no result")
            about = {"seconds": round(work.elapsed, 2), "notices": work.notices, "settings": settings.to_dict()}
            return str(work.files[0]), about

    async def plan(self, picture_width: int, picture_height: int, preset: str, **values: Any) -> dict[str, Any]:
        with _readable_errors():
            settings = self._settings(preset, values)
            size = Size(int(picture_width or 0), int(picture_height or 0))
            if not all(1 <= side <= _LARGEST_SIDE for side in size):
                raise SettingsError(f"picture of {size}: not a size; give 1 to {_LARGEST_SIDE} pixels a side")
            return await asyncio.get_running_loop().run_in_executor(self._planner, _planned, size, settings)

    def list_models(self) -> list[dict[str, Any]]:
        return [model_values(model) for model in weights.models()]

    def cancel(self, job: str, request: gr.Request) -> bool:
        work = self._session(request).job(job)
        if work is None or work.state.over:
            return False
        work.stop()
        return True

    def _settings(self, preset: str, values: dict[str, Any]) -> Settings:
        """The preset, and over it every value that is not the default."""
        given = self._form.given(values)
        base = presets.get(preset).over(Settings()) if preset else Settings()
        return base.but(**{name: value for name, value in given.items() if value != self._form.table[name].default})

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.session(request.username, str(request.session_hash))


def _planned(size: Size, settings: Settings) -> dict[str, Any]:
    plan = planning.plan(size, settings)
    return plan_values(plan, timing.estimate(plan, settings))


def _is_gone() -> bool:
    """Whether the connection of the call at work has ended, which Gradio notes and does not tell."""
    blocks, id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if blocks is None or id is None:
        return False
    events = (event for events in blocks._queue.active_jobs for event in events or ())  # pyright: ignore[reportPrivateUsage]
    return any(event._id == id and not event.alive for event in events)  # pyright: ignore[reportPrivateUsage]


@contextmanager
def _readable_errors() -> Generator[None, None, None]:
    """Tell the caller what goes wrong inside, in two sentences that name parameters and no private paths."""
    try:
        yield
    except UpscalerError as error:
        sentences = cause_and_remedy(error, lambda option: option.name)
        raise gr.Error(" ".join(sentences), print_exception=False) from error
