"""`upscaler run`: which settings, which pictures, and where the results go."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..batch import Job, find_jobs, name_results
from ..errors import ImageError, SettingsError
from ..options import presets
from ..options.settings import Settings, options
from ..pictures.files import read_settings, suffix_of
from ..planning import fitted
from .batch import run_batch
from .one import Models, checked, finish_off, make_folder, run_one


def run_command(parsed: argparse.Namespace) -> int:
    """Enlarge each picture; of several, report those that fail, and go on with the others."""
    settings = settings_from(parsed)
    if parsed.watch:
        watched = [name for name in parsed.input if not Path(name).is_dir()]
        if watched:
            raise SettingsError(f"--watch: {watched[0]} is not a folder; name folders to watch")
    jobs = _jobs(parsed)
    into_folder = parsed.output is None or Path(parsed.output).is_dir() or parsed.output.endswith(("/", os.sep))
    if parsed.watch or len(jobs) != 1 or jobs[0].source != Path(parsed.input[0]):
        if not into_folder:
            raise SettingsError(
                f"-o {parsed.output}: results of several pictures, or of a folder, pattern or list, need a folder; end its name with /"
            )
        return run_batch(parsed, settings, jobs)
    output = _output(jobs[0], parsed, settings, into_folder)
    if not settings.output.overwrite and finish_off(output):
        print(f"{output}: is already finished", file=sys.stderr)
        return 0
    picture = checked(jobs[0].source, output, settings, parsed)
    with Models(settings, parsed.workers) as models:
        run_one(picture, output, settings, models, parsed)
    return 0


def _jobs(parsed: argparse.Namespace) -> Sequence[Job]:
    try:
        return find_jobs(parsed.input, recursive=parsed.recursive)
    except ImageError:
        if parsed.watch:  # they will come
            return []
        raise


def _output(job: Job, parsed: argparse.Namespace, settings: Settings, into_folder: bool) -> Path:
    """Where the result of the only picture goes."""
    name = name_results([job], f"-large{suffix_of(settings.output.format)}")[job]
    if parsed.output is None:
        return job.source.with_name(name.name)
    output = Path(parsed.output)
    folder = output if into_folder else output.parent
    make_folder(folder)
    return output / name if into_folder else output


def settings_from(parsed: argparse.Namespace) -> Settings:
    """The settings that the flags give, over the look of `--preset`, over those of the picture named by `--like`."""
    settings = Settings()
    chosen: set[str] = set()
    if parsed.like is not None:
        stored = read_settings(parsed.like)
        if stored is None:
            raise SettingsError(f"--like {parsed.like}: this picture has no settings; name one that upscaler wrote")
        settings = Settings.from_dict(stored)
        chosen |= {option.name for option in options()}
    if parsed.preset is not None:
        preset = presets.get(parsed.preset)
        settings = preset.over(settings)
        chosen |= preset.values.keys()
    given = {option.name: getattr(parsed, option.name) for option in options() if hasattr(parsed, option.name)}
    sizes = [name for name in ("scale", "width", "height", "megapixels") if given.get(name) is not None]
    if len(sizes) > 1 and sizes != ["width", "height"]:
        raise SettingsError(f"--{sizes[0]} and --{sizes[1]}: both set the size; give only one of them")
    if sizes:  # one way to say the size replaces the others
        given = {"width": None, "height": None, "megapixels": None, **given}
    return fitted(settings.but(**given), given=chosen | given.keys())
