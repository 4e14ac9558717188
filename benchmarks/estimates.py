"""How well the time left is told, from 10 % of a run on: `python -m benchmarks.estimates [--real]`.

Simulated runs go through the real plans of pictures of different size with different stages, on a clock of their own:
on machines that are up to four times slower or faster than the rates that are shipped, with noise from tile to tile,
with a first tile that takes longer, on first runs and on learned ones. With `--real` the models of the package run, on
parts of the bundled photograph, and what is learned from one run is used for the next.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import upscaler
from upscaler import folders, timing
from upscaler.api import run
from upscaler.events import Finished, Progress, Stage
from upscaler.forecast import Forecast
from upscaler.geometry import Size
from upscaler.loading import refiner_for, upscaler_for
from upscaler.options.settings import Settings
from upscaler.pictures.picture import Picture

BAR = 0.25
"""The largest error that is allowed: time left over what was left, as a part of the whole run."""

_FROM = 0.1  # of the run

# name, picture, options, how much slower than shipped the networks of both stages are, whether it has run before
_RUNS: tuple[tuple[str, Size, dict[str, Any], float, float, bool], ...] = (
    ("all stages, first run", Size(512, 512), {}, 1.0, 1.0, False),
    ("slow machine, first run", Size(512, 512), {}, 4.0, 4.0, False),
    ("fast machine, first run", Size(1024, 768), {}, 0.25, 0.25, False),
    ("learned", Size(1024, 1024), {"scale": 2}, 1.6, 1.6, True),
    ("learned, the machine is busy", Size(800, 600), {}, 1.5, 1.5, True),
    ("enlarging alone", Size(640, 480), {"model": "none"}, 2.0, 1.0, False),
    ("diffusion alone", Size(1024, 1024), {"gan": "none", "scale": 1}, 1.0, 3.0, False),
    ("small network, many steps", Size(256, 256), {"gan": "realesr-animevideov3", "steps": 8}, 1.3, 1.3, False),
    ("all joints", Size(512, 384), {"seams": "band", "gan": "realesr-animevideov3"}, 0.7, 0.8, False),
    ("one tile", Size(128, 128), {"scale": 4}, 1.2, 1.2, True),
)


@dataclass
class Run:
    """A run and how well it was told.

    Attributes:
        moments: of each event, the time spent and what was told to be left, in seconds.
        seconds: that it took.
    """

    name: str
    moments: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    seconds: float = 0.0

    @property
    def errors(self) -> list[float]:
        """From 10 % of the run on: by how much the length of the run that was told is off, as a part of its length."""
        late = [moment for moment in self.moments if moment[0] >= _FROM * self.seconds]
        return [abs(spent + left - self.seconds) / self.seconds for spent, left in late]

    @property
    def worst(self) -> float:
        return max(self.errors, default=0.0)


def simulated() -> Iterator[Run]:
    """Ten runs on a simulated clock; they learn in a folder of their own."""
    for index, (name, size, options, first, second, learned) in enumerate(_RUNS):
        rng = np.random.default_rng(index)
        settings = Settings.of(**options)
        plan = upscaler.plan(size, settings)
        with _fresh_state():
            shipped = {stage: expected.seconds for stage, expected in timing.expected(plan, settings).items()}
            if learned:
                timing.learn(plan, settings, {stage: seconds * first / 1.25 for stage, seconds in shipped.items()})
            yield _simulate(name, plan, settings, shipped, first, second, rng)


def _simulate(
    name: str,
    plan: upscaler.RunPlan,
    settings: Settings,
    shipped: dict[Stage, float],
    first: float,
    second: float,
    rng: Any,
) -> Run:
    now = 0.0
    forecast = Forecast(timing.expected(plan, settings), clock=lambda: now)
    found = Run(name)
    pieces = {Stage.ENLARGE: plan.gan_tiles or 1, Stage.REFINE: len(plan.tiles or ()), Stage.SEAMS: plan.seam_tiles}
    for stage, seconds in shipped.items():
        if stage is Stage.SEAMS and settings.seams.mode == "auto" and rng.random() < 0.3:
            continue  # no joint was visible
        tiles = max(pieces.get(stage, 1), 1)
        costs = rng.lognormal(0, 0.06, tiles)
        costs[0] *= 1.1
        costs *= seconds * (first if stage is Stage.ENLARGE else second) / costs.sum()
        for index, cost in enumerate(costs):
            steps = 20 if stage is Stage.ENLARGE else max(plan.sampling.steps, 1)
            for step in range(steps):
                now += cost / steps
                done = index + 1 if step == steps - 1 else index
                part = (
                    {}
                    if step == steps - 1
                    else {"step": step + 1, "steps": steps, "boxes": (upscaler.Box(0, 0, 1, 1),)}
                )
                forecast.note(Progress(stage=stage, done=done, total=tiles, **part))
                found.moments.append((now, forecast.left))
    found.seconds = now
    return found


def real() -> Iterator[Run]:
    """Runs of the bundled models, in an order in which the first ones have learned nothing."""
    photo = upscaler.load(Path(__file__).parents[1] / "examples" / "photo.png").pixels
    wanted: tuple[tuple[int, dict[str, Any]], ...] = (
        (128, {}),
        (192, {}),
        (256, {"scale": 2}),
        (128, {"scale": 2, "gan": "realesr-animevideov3"}),
        (256, {"gan": "realesr-animevideov3"}),
        (160, {"gan": "realesr-animevideov3", "steps": 6}),
        (192, {"gan": "realesrgan-x4plus-anime", "model": "none"}),
        (384, {"gan": "none", "scale": 2}),
        (160, {"gan": "realesr-animevideov3", "scale": 6, "seams": "band"}),
        (224, {"scale": 3}),
    )
    with _fresh_state():
        for side, options in wanted:
            settings = Settings.of(**options)
            picture = Picture(np.ascontiguousarray(photo[:side, :side]))
            models = {"upscaler": upscaler_for(settings), "refiner": refiner_for(settings)}
            plan = upscaler.plan(picture, settings)
            found, begin = Run(f"{side} px, {options or 'all stages'}"), time.monotonic()
            forecast = Forecast(timing.expected(plan, settings))
            for event in run(picture, settings, **models):
                if isinstance(event, Progress):
                    forecast.note(event)
                    found.moments.append((time.monotonic() - begin, forecast.left))
                elif isinstance(event, Finished):
                    timing.learn(plan, settings, event.seconds)
            found.seconds = time.monotonic() - begin
            yield found


class _fresh_state:  # noqa: N801 - reads like a function
    """A state folder of its own, in which nothing is learned yet."""

    def __enter__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._usual = folders.state_folder
        folders.state_folder = lambda: Path(self._folder.name)

    def __exit__(self, *_: object) -> None:
        folders.state_folder = self._usual
        self._folder.cleanup()


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", action="store_true", help="run the bundled models instead of a simulation")
    parsed = parser.parse_args(None if arguments is None else list(arguments))
    worst = 0.0
    for found in real() if parsed.real else simulated():
        errors = found.errors or [0.0]
        print(
            f"{found.name:60}{found.seconds:8.1f} s   mean {np.mean(errors):4.0%}   worst {found.worst:4.0%}",
            flush=True,
        )
        worst = max(worst, found.worst)
    print(f"worst of all: {worst:.0%}; the bar is {BAR:.0%}")
    return int(worst > BAR)


if __name__ == "__main__":
    sys.exit(main())
