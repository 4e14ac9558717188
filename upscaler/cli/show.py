"""`upscaler plan`, `models`, `doctor` and `inspect`: commands that only look."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__, text, timing, weights
from ..api import plan
from ..errors import ImageError, SettingsError, WeightsError
from ..options.settings import Settings
from ..pictures.files import read_settings
from ..plan import RunPlan
from .run import inputs_from, settings_from


def plan_command(parsed: argparse.Namespace) -> int:
    """Print what a run would do to each picture."""
    settings = settings_from(parsed)
    for path in inputs_from(parsed):
        result = plan(path, settings)
        seconds = timing.estimate(result, settings)
        if parsed.json:
            print(json.dumps({"input": str(path), **_plan_values(result), "seconds": seconds}))
        else:
            print(_plan_text(path, result, settings))
            print(
                "  time     not known yet; a first run will tell"
                if seconds is None
                else f"  time     about {text.duration(seconds)}, from past runs on this machine"
            )
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

    from ..models.device import available_devices, free_memory, pick_device, pick_dtype

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
