"""`upscaler run` over one picture: checked, enlarged, saved; what was finished is kept when it is stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import resume, timing
from ..api import plan, refiner_for, run, upscaler_for
from ..errors import Cancelled, UpscalerError
from ..events import Finished, Notice, Progress
from ..forecast import Forecast
from ..models.base import Refiner, Upscaler
from ..options.settings import Settings
from ..pictures.compare import comparison
from ..pictures.files import check_output, load, save
from ..pictures.picture import Picture
from .terminal import Display

_WORTH_KEEPING = 60.0  # seconds of a run above which its progress is kept unless the user says otherwise


class Models:
    """The models that the settings name, loaded when the first picture needs them, and shared by all."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: tuple[Upscaler | None, Refiner | None] | None = None

    def load(self) -> tuple[Upscaler | None, Refiner | None]:
        """Both, `None` for one that is "none"."""
        if self._loaded is None:
            self._loaded = upscaler_for(self._settings), refiner_for(self._settings)
        return self._loaded


def checked(path: Path, output: Path, settings: Settings) -> Picture:
    """The picture, loaded, once its result is known to be writable."""
    picture = load(path, max_pixels=settings.output.pixel_limit)
    out = settings.output
    check_output(
        output, settings.target.of(picture.size), format=out.format, bit_depth=out.bit_depth, overwrite=out.overwrite
    )
    return picture


def run_one(picture: Picture, output: Path, settings: Settings, models: Models, parsed: argparse.Namespace) -> None:
    """Enlarge a picture and save the result.

    Raises:
        Cancelled: stopped by Ctrl-C; says where what was finished is.
        UpscalerError: it failed; says the same.
    """
    upscaler, refiner = models.load()
    kept = _progress_folder(picture, output, settings, parsed)
    # the models are given, so that several pictures share them; a model that is "none" stays none
    events = run(picture, settings, upscaler=upscaler, refiner=refiner, progress=kept, restart=parsed.restart)
    planned = plan(picture, settings)
    latest: Picture | None = None
    with Display(
        Forecast(timing.expected(planned, settings)), quiet=parsed.quiet, verbose=parsed.verbose, lines=parsed.json
    ) as display:
        try:
            for event in events:
                display.show(event)
                if isinstance(event, Progress):
                    latest = event.picture
                elif isinstance(event, Finished):
                    timing.learn(planned, settings, event.seconds)
                    out, made_with = settings.output, settings.to_json()
                    for message in save(event.picture, output, settings_json=made_with, **out.for_save):
                        display.show(Notice(message))
                    extra = [_compare(picture, event.picture, output)] if parsed.compare else []
                    display.finished(event, output, extra)
        except (KeyboardInterrupt, UpscalerError) as error:
            events.close()  # type: ignore[attr-defined]
            told = _keep(latest, output)
            if kept is not None and resume.is_kept(kept):
                told += "; the same command goes on from there"
            if isinstance(error, KeyboardInterrupt):
                raise Cancelled(f"stopped{told}") from None
            raise type(error)(f"{error}{told}") from None


def finish_off(output: Path) -> bool:
    """Whether a run wrote this result and was killed before it could remove its progress, which is removed now."""
    folder = resume.folder_for(output)
    if not output.is_file() or not resume.is_kept(folder) or not resume.is_older(folder, output):
        return False
    resume.drop(folder)
    return True


def _progress_folder(picture: Picture, output: Path, settings: Settings, parsed: argparse.Namespace) -> Path | None:
    """Where progress is kept: for a run that takes long, or that has some to go on from, or if it is asked for."""
    folder = resume.folder_for(output)
    if parsed.keep_progress is False:
        return None
    if parsed.keep_progress or resume.is_kept(folder):
        return folder
    return folder if timing.estimate(plan(picture, settings), settings) > _WORTH_KEEPING else None


def _keep(latest: Picture | None, output: Path) -> str:
    """Save what a stopped run had finished; returns the end of a message that says where."""
    if latest is None:
        return ""
    place = output.with_name(f"{output.stem}.partial.png")
    save(latest, place, overwrite=True)
    return f"; what was finished is in {place}"


def _compare(before: Picture, after: Picture, output: Path) -> Path:
    place = output.with_name(f"{output.stem}-compare.png")
    save(comparison(before, after), place, overwrite=True)
    return place
