"""`upscaler run` over one picture: checked, enlarged, saved; what was finished is kept when it is stopped."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from .. import resume, timing
from ..api import run
from ..errors import MACHINE, Cancelled, ImageError, UpscalerError, ours
from ..events import Finished, Notice, Progress
from ..folders import beside
from ..forecast import Forecast
from ..loading import about, loaded
from ..models.base import Refiner, Upscaler
from ..options.settings import Settings
from ..pictures.compare import comparison
from ..pictures.files import check_output, load, save
from ..pictures.masks import load_mask
from ..pictures.picture import Picture
from ..planning import plan
from ..run_plan import RunPlan
from ..scratch import store_for
from ..text import one_line
from .terminal import Display

_WORTH_KEEPING = 60.0  # seconds of a run above which its progress is kept unless the user says otherwise


class Models:
    """The models that the settings name, loaded when the first picture needs them, and shared by all."""

    def __init__(self, settings: Settings, workers: str | None) -> None:
        self._settings, self._workers = settings, workers
        self._open = ExitStack()
        self._loaded: tuple[Upscaler | None, Refiner | None] | None = None

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def load(self) -> tuple[Upscaler | None, Refiner | None, list[str]]:
        """Both, `None` for one that is "none"; and what there is to tell of them, the first time."""
        if self._loaded is not None:
            return *self._loaded, []
        self._loaded = self._open.enter_context(loaded(self._settings, self._workers))
        return *self._loaded, about(self._loaded[1], self._settings)


def make_folder(folder: Path) -> None:
    """Make a folder for results where there is none; whether it may be written to is checked with each result.

    Raises:
        ImageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{folder}: this folder cannot be made ({one_line(error)}); choose another one") from error


def checked(path: Path, output: Path, settings: Settings, parsed: argparse.Namespace) -> Picture:
    """The picture, loaded, once its result is known to be writable."""
    kept = partial(store_for, settings=settings, scratch=None if parsed.scratch is None else Path(parsed.scratch))
    picture = load(path, max_pixels=settings.output.pixel_limit, store=kept)
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
    limit = settings.output.pixel_limit
    mask = None if parsed.mask is None else load_mask(parsed.mask, picture.size, max_pixels=limit)
    upscaler, refiner, told_of_models = models.load()
    planned = plan(picture, settings)
    kept = _progress_folder(planned, output, settings, parsed)
    goes_on = kept is not None and resume.is_kept(kept) and not parsed.restart
    # the models are given, so that several pictures share them; a model that is "none" stays none
    events = run(
        picture,
        settings,
        upscaler=upscaler,
        refiner=refiner,
        mask=mask,
        progress=kept,
        restart=parsed.restart,
        scratch=parsed.scratch,
    )
    latest: Picture | None = None
    with Display(
        Forecast(timing.expected(planned, settings)), quiet=parsed.quiet, verbose=parsed.verbose, lines=parsed.json
    ) as display:
        try:
            for message in told_of_models:
                display.show(Notice(message))
            for event in events:
                display.show(event)
                if isinstance(event, Progress):
                    latest = event.picture
                elif isinstance(event, Finished):
                    latest = event.picture
                    if not goes_on:  # its seconds would be those of a part
                        timing.learn(planned, settings, event.seconds)
                    out, made_with = settings.output, settings.to_json()
                    for message in save(event.picture, output, settings_json=made_with, **out.for_save):
                        display.show(Notice(message))
                    extra = [_compare(picture, event.picture, output)] if parsed.compare else []
                    display.finished(event, output, extra)
        except (KeyboardInterrupt, UpscalerError, *MACHINE) as error:
            events.close()  # type: ignore[attr-defined]
            told = _keep(latest, output)
            if kept is not None and resume.is_kept(kept):
                told += "; run the same command again to continue"
            if isinstance(error, KeyboardInterrupt):
                raise Cancelled(f"stopped{told}") from None
            failure = ours(error)
            raise type(failure)(f"{failure}{told}") from None


def finish_off(output: Path) -> bool:
    """Whether a run wrote this result and was killed before it had removed its progress, which is removed now."""
    folder = resume.folder_for(output)
    if not output.is_file() or not folder.is_dir():
        return False
    if resume.is_kept(folder) and not resume.is_older(folder, output):  # of a run that was to replace this result
        return False
    resume.drop(folder)
    return True


def _progress_folder(planned: RunPlan, output: Path, settings: Settings, parsed: argparse.Namespace) -> Path | None:
    """Where progress is kept: for a run that takes long, or that has some to go on from, or if it is asked for."""
    folder = resume.folder_for(output)
    if parsed.keep_progress is False:
        return None
    if parsed.keep_progress or resume.is_kept(folder):
        return folder
    return folder if timing.estimate(planned, settings) > _WORTH_KEEPING else None


def _keep(latest: Picture | None, output: Path) -> str:
    """Save what a stopped run had finished; returns the end of a message that says where."""
    if latest is None:
        return ""
    place = beside(output, ".partial.png")
    try:
        save(latest, place, overwrite=True)
    except (UpscalerError, *MACHINE) as error:  # as full a disk as that which ended the run
        return f"; the finished part could not be kept ({ours(error)})"
    return f"; the finished part is in {place}"


def _compare(before: Picture, after: Picture, output: Path) -> Path:
    place = beside(output, "-compare.png")
    save(comparison(before, after), place, overwrite=True)
    return place
