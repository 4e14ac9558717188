"""`upscaler run`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .. import timing
from ..api import plan, refiner_for, run, upscaler_for
from ..errors import Cancelled, ImageError, SettingsError, UpscalerError
from ..events import Finished, Notice, Progress
from ..models.base import Refiner, Upscaler
from ..options import presets
from ..options.settings import Settings, options
from ..pictures.compare import comparison
from ..pictures.files import SUFFIXES, check_output, load, read_settings, save, suffix_of
from ..pictures.picture import Picture
from .terminal import Display, complain


def run_command(parsed: argparse.Namespace) -> int:
    """Enlarge each picture; report those that fail, and go on with the others."""
    settings = settings_from(parsed)
    pairs = [(path, _output(path, parsed, settings)) for path in inputs_from(parsed)]
    if len({output for _, output in pairs}) < len(pairs):
        raise SettingsError(
            f"--output {parsed.output}: several pictures would be written to one file; give a folder that exists"
        )
    models: tuple[Upscaler | None, Refiner | None] | None = None
    codes: list[int] = []
    for path, output in pairs:
        try:
            picture = _checked(path, output, settings)
            models = models or (upscaler_for(settings), refiner_for(settings))
            _run_one(picture, output, settings, models, parsed)
            codes.append(0)
        except Cancelled as error:
            complain(error)
            return error.exit_code
        except UpscalerError as error:
            complain(error)
            codes.append(error.exit_code)
    failed = [code for code in codes if code]
    return failed[0] if len(failed) == len(codes) and len(set(failed)) == 1 else int(bool(failed))


def _checked(path: Path, output: Path, settings: Settings) -> Picture:
    """The picture, loaded, once its result is known to be writable."""
    picture = load(path, max_pixels=settings.output.pixel_limit)
    out = settings.output
    check_output(
        output, settings.target.of(picture.size), format=out.format, bit_depth=out.bit_depth, overwrite=out.overwrite
    )
    return picture


def _run_one(
    picture: Picture,
    output: Path,
    settings: Settings,
    models: tuple[Upscaler | None, Refiner | None],
    parsed: argparse.Namespace,
) -> None:
    latest: Picture | None = None
    upscaler, refiner = models
    # the models are given, so that several pictures share them; a model that is "none" stays none
    events = run(picture, settings, upscaler=upscaler, refiner=refiner)
    with Display(quiet=parsed.quiet, verbose=parsed.verbose, lines=parsed.json) as display:
        try:
            for event in events:
                display.show(event)
                if isinstance(event, Progress):
                    latest = event.picture
                elif isinstance(event, Finished):
                    timing.learn(plan(picture, settings), settings, event.seconds)
                    out, made_with = settings.output, settings.to_json()
                    for message in save(event.picture, output, settings_json=made_with, **out.for_save):
                        display.show(Notice(message))
                    extra = [_compare(picture, event.picture, output)] if parsed.compare else []
                    display.finished(event, output, extra)
        except (KeyboardInterrupt, UpscalerError) as error:
            events.close()  # type: ignore[attr-defined]
            kept = _keep(latest, output)
            if isinstance(error, KeyboardInterrupt):
                raise Cancelled(f"stopped{kept}") from None
            raise type(error)(f"{error}{kept}") from None


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


def _output(path: Path, parsed: argparse.Namespace, settings: Settings) -> Path:
    """Where the result of a picture goes."""
    name = f"{path.stem}-large{suffix_of(settings.output.format)}"
    if parsed.output is None:
        return path.with_name(name)
    output = Path(parsed.output)
    if output.is_dir() or parsed.output.endswith(("/", os.sep)):
        output.mkdir(parents=True, exist_ok=True)
        return output / name
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def settings_from(parsed: argparse.Namespace) -> Settings:
    """The settings that the flags give, over the look of `--preset`, over those of the picture named by `--like`."""
    settings = Settings()
    if parsed.like is not None:
        stored = read_settings(parsed.like)
        if stored is None:
            raise SettingsError(f"--like {parsed.like}: this picture has no settings; name one that upscaler wrote")
        settings = Settings.from_dict(stored)
    if parsed.preset is not None:
        settings = presets.get(parsed.preset).over(settings)
    given = {option.name: getattr(parsed, option.name) for option in options() if hasattr(parsed, option.name)}
    if {"scale", "width", "height", "megapixels"} & given.keys():  # one way to say the size replaces the others
        given = {"width": None, "height": None, "megapixels": None, **given}
    return settings.but(**given)


def inputs_from(parsed: argparse.Namespace) -> list[Path]:
    """The pictures that the arguments name: files, and the pictures in folders."""
    found: list[Path] = []
    for path in map(Path, parsed.input):
        if path.is_dir():
            inside = path.rglob("*") if parsed.recursive else path.iterdir()
            found += sorted(file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file())
        else:
            found.append(path)
    if not found:
        raise ImageError(
            f"{', '.join(parsed.input)}: no pictures found ({', '.join(SUFFIXES)}); use -r for folders inside folders"
        )
    return found
