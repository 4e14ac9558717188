"""`upscaler plan`, `doctor` and `inspect`: commands that change nothing."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from .. import __version__, timing, weights
from ..batch import find_jobs
from ..describe import plan_headline, plan_phrases, plan_values
from ..errors import ImageError, WeightsError
from ..fitting import changes
from ..options import presets
from ..options.settings import Settings, options
from ..pictures.files import read_settings, size_in_header
from ..planning import advice_on_faces, on_cards, plan, within_memory
from ..text import amount
from .run import settings_from


def plan_command(parsed: argparse.Namespace) -> int:
    """Print what a run would do to each picture."""
    asked = settings_from(parsed)
    for path in (job.source for job in find_jobs(parsed.input, recursive=parsed.recursive)):
        settings = within_memory(path, asked)
        result = plan(path, settings)
        seconds = timing.estimate(result, settings)
        if parsed.json:
            print(json.dumps({"input": str(path), **plan_values(result, seconds)}))
        else:
            print(f"{path}: {plan_headline(result, seconds)}")
            phrases = plan_phrases(result, settings, seconds)
            if changed := changes(asked, settings):
                phrases["to fit"] = f"{changed}, to stay within {asked.hardware.memory}"
            if result.tiles is not None and (fitting := on_cards(settings, result.source)):
                phrases["on a GPU"] = fitting
            for head, phrase in phrases.items():
                print(f"  {head:9}{phrase}")
            if told := advice_on_faces(path, settings):
                print(f"  {'faces':9}{told} (--faces 0.7)")
    return 0


def doctor_command(parsed: argparse.Namespace) -> int:
    """Print what is installed, what it runs on, and what is wrong."""
    import torch

    from ..models.backends import pick_dtype
    from ..models.device import available_devices, free_memory, pick_device

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
        facts[f"device {name}"] = f"{amount(free_memory(device))} free, diffusion models run in {number}"
    facts["threads"] = str(torch.get_num_threads())
    problems: list[str] = []
    for model in weights.models():
        try:
            weights.verify(model)
            facts[f"model {model.name}"] = "ok" if model.bundled else str(model.path)
        except WeightsError as error:
            problems.append(str(error))
    folder = weights.user_folders()[-1]
    facts["your models"] = f"{folder}{'' if folder.is_dir() else ' (not created yet)'}"
    try:
        with tempfile.TemporaryFile():
            facts["temporary files"] = tempfile.gettempdir()
    except OSError as error:
        problems.append(f"temporary files cannot be written: {error}")
    if parsed.json:
        rows = [row for rows in _benchmarks() for row in rows] if parsed.benchmark else []
        print(json.dumps({"facts": facts, "problems": problems, **({"benchmark": rows} if parsed.benchmark else {})}))
        return WeightsError.exit_code if problems else 0
    for key, value in facts.items():
        print(f"{key:32}{value}")
    for problem in problems:
        print(f"problem: {problem}")
    for rows in _benchmarks() if parsed.benchmark else ():
        print(f"\n{rows[0]['model']} on {rows[0]['device']}")
        for row in rows:
            print(_benchmark_text(row))
    return WeightsError.exit_code if problems else 0


def _benchmarks() -> Iterator[list[dict[str, Any]]]:
    """For each bundled network and each device, how every way to run it did."""
    from ..models.device import available_devices
    from ..models.gan.load import benchmark

    for model in weights.bundled():
        for name in available_devices() if model.kind == "gan" else ():
            trials, chosen = benchmark(model.name, device=name)
            slowest = max((trial.time for trial in trials if trial.upscaler is not None), default=0.0)
            yield [
                {
                    "model": model.name,
                    "device": name,
                    "way": str(trial.way),
                    "speed": slowest / trial.time if trial.upscaler is not None else None,
                    "mean": trial.mean,
                    "largest": trial.largest,
                    "problem": trial.problem,
                    "chosen": trial is chosen,
                }
                for trial in trials
            ]


def _benchmark_text(row: dict[str, Any]) -> str:
    if row["speed"] is None:
        return f"  {row['way']:32}{row['problem']}"
    chosen = "   chosen" if row["chosen"] else ""
    return f"  {row['way']:32}{row['speed']:5.2f}x   mean {row['mean']:.2f}, most {row['largest']:.1f} of 255{chosen}"


def inspect_command(parsed: argparse.Namespace) -> int:
    """Print what made a picture: a summary, or all its settings as JSON."""
    stored = read_settings(parsed.file)
    if stored is None:
        raise ImageError(f"{parsed.file}: this picture has no settings; name one that upscaler wrote")
    if parsed.json:
        print(json.dumps(stored, indent=2))
        return 0
    size = size_in_header(parsed.file, max_pixels=None)
    print(f"{parsed.file}{f': {size}' if size else ''}, made by upscaler")
    for head, phrase in _summary(Settings.from_dict(stored)).items():
        print(f"  {head:9}{phrase}")
    print("  (--json prints all settings; `upscaler run --like FILE` uses them again)")
    return 0


def _summary(settings: Settings) -> dict[str, str]:
    """What matters of the settings that made a picture, by a word that may head it."""
    target, diffusion, default = settings.target, settings.diffusion, Settings()
    look = next((preset.title for preset in presets.presets() if preset.over(settings) == settings), "")
    pixels = " x ".join(str(side or "auto") for side in (target.width, target.height))
    phrases = {
        **({"look": look} if look else {}),
        "size": f"{pixels} px"
        if target.width or target.height
        else f"{target.megapixels:g} MP"
        if target.megapixels
        else f"{target.scale:g} times",
        "enlarge": "resampled" if settings.gan.model == "none" else settings.gan.model,
        "refine": "none"
        if diffusion.model == "none"
        else f"{diffusion.model}, strength {diffusion.strength:g}, seed {diffusion.seed}",
    }
    if diffusion.prompt:
        phrases["prompt"] = diffusion.prompt
    told = {"scale", "width", "height", "megapixels", "gan", "model", "strength", "seed", "prompt"}
    others = [
        f"{option.spec.flags[0]} {settings.value(option)}"
        for option in options()
        if option.name not in told and settings.value(option) != default.value(option)
    ]
    return {**phrases, **({"others": ", ".join(others)} if others else {})}
