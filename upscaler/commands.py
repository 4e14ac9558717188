"""What the commands of the command line do."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__, weights
from .api import plan, refiner_for, run, upscaler_for
from .compare import comparison
from .errors import Cancelled, ImageError, SettingsError, UpscalerError, WeightsError
from .events import Finished, Notice, Progress
from .files import check_output, load, read_settings, save
from .image import Picture
from .models.base import Refiner, Upscaler
from .planning import RunPlan
from .settings import Settings, options
from .terminal import Display

_READ = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif", ".bmp")
_WRITTEN = {"auto": ".png", "png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "avif": ".avif"}


def run_command(parsed: argparse.Namespace) -> int:
    """Enlarge each picture; what fails is said, and the others go on."""
    settings = _settings(parsed)
    if parsed.dry_run:
        return plan_command(parsed)
    pairs = [(path, _output(path, parsed, settings)) for path in _inputs(parsed)]
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
            print(f"upscaler: {error}", file=sys.stderr)
            return error.exit_code
        except UpscalerError as error:
            print(f"upscaler: {error}", file=sys.stderr)
            codes.append(error.exit_code)
    failed = [code for code in codes if code]
    return failed[0] if len(failed) == len(codes) and len(set(failed)) == 1 else int(bool(failed))


def _checked(path: Path, output: Path, settings: Settings) -> Picture:
    """The picture, once it is sure that its result can be written."""
    picture = load(path, max_pixels=settings.output.max_pixels * 1_000_000)
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
                    written = _save(event.picture, output, settings)
                    for message in written:
                        display.show(Notice(message))
                    extra = [_compare(picture, event.picture, output)] if parsed.compare else []
                    display.finished(event, output, extra)
        except (KeyboardInterrupt, UpscalerError) as error:
            events.close()  # type: ignore[attr-defined]
            kept = _keep(latest, output, settings)
            if isinstance(error, KeyboardInterrupt):
                raise Cancelled(f"stopped{kept}") from None
            raise type(error)(f"{error}{kept}") from None


def _keep(latest: Picture | None, output: Path, settings: Settings) -> str:
    """Save what a stopped run had finished; says where, for the end of a message."""
    if latest is None or (latest.size != settings.target.of(latest.size) and latest.pixels.size == 0):
        return ""
    place = output.with_name(f"{output.stem}.partial.png")
    save(latest, place, overwrite=True)
    return f"; what was finished is in {place}"


def _save(picture: Picture, output: Path, settings: Settings) -> tuple[str, ...]:
    out = settings.output
    return save(
        picture,
        output,
        format=out.format,
        quality=out.quality,
        bit_depth=out.bit_depth,
        dither=out.dither,
        metadata=out.metadata,
        gps=out.gps,
        settings_json=settings.to_json(),
        overwrite=out.overwrite,
    )


def _compare(before: Picture, after: Picture, output: Path) -> Path:
    place = output.with_name(f"{output.stem}-compare.png")
    save(comparison(before, after), place, overwrite=True)
    return place


def _output(path: Path, parsed: argparse.Namespace, settings: Settings) -> Path:
    """Where the result of a picture goes."""
    name = f"{path.stem}-large{_WRITTEN[settings.output.format]}"
    if parsed.output is None:
        return path.with_name(name)
    output = Path(parsed.output)
    if output.is_dir() or parsed.output.endswith(("/", os.sep)):
        output.mkdir(parents=True, exist_ok=True)
        return output / name
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def plan_command(parsed: argparse.Namespace) -> int:
    """Print what a run would do to each picture."""
    settings = _settings(parsed)
    for path in _inputs(parsed):
        result = plan(path, settings)
        if parsed.json:
            print(json.dumps({"input": str(path), **_plan_values(result)}))
        else:
            print(_plan_text(path, result, settings))
    return 0


def _plan_values(result: RunPlan) -> dict[str, Any]:
    tiles = result.tiles
    return {
        "source": list(result.source),
        "target": list(result.target),
        "gan_tiles": result.gan_tiles,
        "tile": None if result.tile is None else list(result.tile),
        "grid": None if tiles is None else [len(tiles.columns), len(tiles.rows)],
        "seam_tiles": result.seam_tiles,
        "evaluations": result.evaluations,
        "canvas_bytes": result.canvas_bytes,
    }


def _plan_text(path: Path, result: RunPlan, settings: Settings) -> str:
    lines = [f"{path}: {result.source} -> {result.target}"]
    network = f"{result.gan_tiles} tiles by {settings.gan.model}" if result.gan_tiles else "resampled"
    lines.append(f"  enlarge  {network}")
    if result.tiles is not None:
        columns, rows = len(result.tiles.columns), len(result.tiles.rows)
        lines.append(
            f"  refine   {columns * rows} tiles of {result.tile} in {columns} columns and {rows} rows by {settings.diffusion.model}, "
            f"{settings.diffusion.steps} steps at strength {settings.diffusion.strength:g}"
        )
        most = "at most " if settings.seams.mode == "auto" else ""
        lines.append(
            f"  seams    {settings.seams.mode}: {most}{result.seam_tiles} pieces of {settings.seams.steps} steps"
        )
        lines.append(f"  in all   {most}{result.evaluations} evaluations of the diffusion network")
    lines.append(f"  memory   {result.canvas_bytes / 2**20:,.0f} MiB for the pictures, beside the models")
    return "\n".join(lines)


def models_command(parsed: argparse.Namespace) -> int:
    """List, check or locate models."""
    if parsed.action == "path":
        if parsed.name is None:
            raise SettingsError("models path: name a model; `upscaler models list` shows them")
        print(_find(parsed.name).path)
        return 0
    found = weights.models()
    if parsed.action == "verify":
        for model in found:
            if model.bundled:
                weights.verify(model)
                print(f"{model.name}: good")
        return 0
    if parsed.json:
        for model in found:
            print(
                json.dumps(
                    {
                        "name": model.name,
                        "kind": model.kind,
                        "path": str(model.path),
                        "bytes": model.bytes,
                        "licence": model.licence,
                    }
                )
            )
        return 0
    for model in found:
        print(
            f"{model.name:26}{model.kind:11}{model.bytes / 2**20:8.1f} MiB  {model.licence or 'your own':18}{model.description}"
        )
    print(f"More: put .safetensors files and diffusers folders into {weights.user_folders()[-1]}")
    return 0


def _find(name: str) -> weights.Model:
    for model in weights.models():
        if model.name == name:
            return model
    return weights.get(name, "gan")


def doctor_command(parsed: argparse.Namespace) -> int:
    """Say what is installed, what it runs on, and what is wrong."""
    import torch

    from .models.device import available_devices, free_memory, pick_device, pick_dtype

    facts: dict[str, str] = {
        "upscaler": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for package in ("torch", "torchvision", "diffusers", "transformers", "spandrel", "numpy", "pillow"):
        facts[package] = metadata.version(package)
    for name in available_devices():
        device = pick_device(name)
        number = str(pick_dtype(device)).removeprefix("torch.")
        facts[f"device {name}"] = f"{free_memory(device) / 2**30:.1f} GiB free, networks run in {number}"
    facts["threads"] = str(torch.get_num_threads())
    problems: list[str] = []
    for model in weights.models():
        try:
            weights.verify(model)
            facts[f"model {model.name}"] = "good" if model.bundled else str(model.path)
        except WeightsError as error:
            problems.append(str(error))
    folder = weights.user_folders()[-1]
    facts["own models"] = f"{folder}{'' if folder.is_dir() else ' (not there yet)'}"
    try:
        with tempfile.TemporaryFile():
            facts["temporary files"] = tempfile.gettempdir()
    except OSError as error:
        problems.append(f"temporary files cannot be written: {error}")
    if parsed.json:
        print(json.dumps({"facts": facts, "problems": problems}))
    else:
        for key, value in facts.items():
            print(f"{key:32}{value}")
        for problem in problems:
            print(f"problem: {problem}")
    return WeightsError.exit_code if problems else 0


def inspect_command(parsed: argparse.Namespace) -> int:
    """Print the settings stored in a picture as JSON."""
    stored = read_settings(parsed.file)
    if stored is None:
        raise ImageError(f"{parsed.file}: carries no settings of upscaler")
    print(json.dumps(stored, indent=2))
    return 0


def _settings(parsed: argparse.Namespace) -> Settings:
    """The settings that the flags give, over those of the picture named by `--like`."""
    settings = Settings()
    if parsed.like is not None:
        stored = read_settings(parsed.like)
        if stored is None:
            raise SettingsError(f"--like {parsed.like}: this picture carries no settings; name one that upscaler wrote")
        settings = Settings.from_dict(stored)
    given = {option.name: getattr(parsed, option.name) for option in options() if hasattr(parsed, option.name)}
    if {"scale", "width", "height", "megapixels"} & given.keys():  # one way to say the size replaces the others
        given = {"width": None, "height": None, "megapixels": None, **given}
    return settings.but(**given)


def _inputs(parsed: argparse.Namespace) -> list[Path]:
    """The pictures that the arguments name: files, and the pictures in folders."""
    found: list[Path] = []
    for path in map(Path, parsed.input):
        if path.is_dir():
            inside = path.rglob("*") if parsed.recursive else path.iterdir()
            found += sorted(file for file in inside if file.suffix.lower() in _READ and file.is_file())
        else:
            found.append(path)
    if not found:
        raise ImageError(
            f"{', '.join(parsed.input)}: no pictures in there ({', '.join(_READ)}); use -r for folders inside folders"
        )
    return found


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": run_command,
    "plan": plan_command,
    "models": models_command,
    "doctor": doctor_command,
    "inspect": inspect_command,
}
