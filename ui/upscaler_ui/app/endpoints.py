"""What programs call over HTTP: `upscale`, `plan`, `list_models` and `cancel`, with flat, typed and named parameters."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from upscaler import api as engine
from upscaler import timing, weights
from upscaler.errors import Cancelled, SettingsError, UpscalerError
from upscaler.geometry import Size
from upscaler.options import presets
from upscaler.options.settings import Settings

from ..controls import control
from .describe import cause_and_remedy
from .desk import Desk, Desks
from .form import Form
from .jobs import State

_JOB = re.compile(r"[0-9a-f]{32}")
_LOOK = 0.1  # seconds between two looks at a job
_LARGEST_SIDE = 1_000_000


def add_endpoints(form: Form, desks: Desks) -> None:
    """Add the endpoints to the page being built. The widgets that they take their types from are not on the page."""
    with gr.Column(visible=False):
        image = gr.File(type="filepath", label="picture")
        made = gr.File(label="result")
        about = gr.JSON(label="about")
        preset = gr.Textbox("", label="name of a preset, or nothing")
        job = gr.Textbox("", label="32 hexadecimal digits to cancel it by, or nothing")
        width, height = (
            gr.Number(512, precision=0, label="of the picture"),
            gr.Number(512, precision=0, label="of the picture"),
        )
        # a field that may be left out needs a value that says so
        widgets = {name: control(option, 0 if option.optional else None) for name, option in form.table.items()}
        button = gr.Button()

    def settings_of(preset: str, values: dict[str, Any]) -> Settings:
        """The preset, and over it every value that is not the default."""
        given = form.given(values)
        base = presets.get(preset).over(Settings()) if preset else Settings()
        return base.but(**{name: value for name, value in given.items() if value != form.table[name].default})

    def desk_of(request: gr.Request) -> Desk:
        return desks.desk(request.username, str(request.session_hash))

    async def upscale(  # many may wait at the same time, and the page needs the threads
        image: str,
        preset: str,
        job: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio wants it
        **values: Any,
    ) -> tuple[str, dict[str, Any]]:
        with _said():
            settings = settings_of(preset, values)
            if not image:
                raise SettingsError("image: there is none; send a picture")
            if job and not _JOB.fullmatch(job):
                raise SettingsError(f"job: {job[:40]!r} is no id; give 32 hexadecimal digits, or leave it out")
            work = desk_of(request).run(Path(image), settings, job or secrets.token_hex(16))
            try:
                while not work.state.over:
                    await asyncio.sleep(_LOOK)
                    if work.progress is not None:
                        progress(work.progress.fraction, desc=work.progress.stage.value)
            finally:
                work.stop()
            if work.error is not None:
                raise work.error
            if work.state is State.STOPPED:
                raise Cancelled("the run was stopped; nothing is given back")
            facts = {"seconds": round(work.elapsed, 2), "notices": work.notices, "settings": settings.to_dict()}
            return str(work.files[0]), facts

    def plan(picture_width: int, picture_height: int, preset: str, **values: Any) -> dict[str, Any]:
        with _said():
            settings = settings_of(preset, values)
            size = Size(int(picture_width or 0), int(picture_height or 0))
            if not all(1 <= side <= _LARGEST_SIDE for side in size):
                raise SettingsError(f"picture of {size}: is not a size; give 1 to {_LARGEST_SIDE} pixels a side")
            found = engine.plan(size, settings)
            tiles = found.tiles
            return {
                "size": list(found.target),
                "grid": None if tiles is None else [len(tiles.columns), len(tiles.rows)],
                "tile": None if found.tile is None else list(found.tile),
                "gan_tiles": found.gan_tiles,
                "seam_tiles": found.seam_tiles,
                "evaluations": found.evaluations,
                "bytes": found.canvas_bytes,
                "seconds": timing.estimate(found, settings),
            }

    def list_models() -> list[dict[str, Any]]:
        return [
            {
                "name": model.name,
                "kind": model.kind,
                "scale": model.scale,
                "bytes": model.bytes,
                "licence": model.licence,
            }
            for model in weights.models()
        ]

    def cancel(job: str, request: gr.Request) -> bool:
        work = desk_of(request).job(job)
        if work is None or work.state.over:
            return False
        work.stop()
        return True

    button.click(
        upscale,
        [image, preset, job],
        [made, about],
        inputs_kwargs=widgets,
        api_name="upscale",
        concurrency_limit=None,
        api_description="Enlarge a picture. Gives back the file, and how it was made.",
    )
    button.click(
        plan,
        [width, height, preset],
        about,
        inputs_kwargs=widgets,
        api_name="plan",
        queue=False,
        api_description="What a run would do to a picture of that size.",
    )
    button.click(
        list_models, None, about, api_name="list_models", queue=False, api_description="The models that are there."
    )
    button.click(
        cancel,
        job,
        gr.Checkbox(visible=False),
        api_name="cancel",
        queue=False,
        api_description="Stop the run with that id. True if there was one at work.",
    )


@contextmanager
def _said() -> Generator[None, None, None]:
    """What goes wrong inside, in two sentences and without private paths, for whoever called."""
    try:
        yield
    except UpscalerError as error:
        raise gr.Error(" ".join(cause_and_remedy(error, lambda option: option.name)), print_exception=False) from error
