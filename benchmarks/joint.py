"""Tiles each by itself against tiles denoised together: how visible the joints are, how far from untiled, how long it takes.

    python -m benchmarks.joint [--model pocket] [--side 256] [--scale 4] [--tile 384] [--strength 0.25] [--scheduler auto]

The bundled photograph, reduced to `--side`, is enlarged by resampling and redrawn without a seam pass three times: with tiles of
`--tile`, with the same tiles together, and as one tile. Scores and distances are in 1/255. A network with random weights,
such as that of a checkpoint made for tests, tells the time and how far tiles disagree, not how good a picture is.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import PIL.Image

import upscaler
from upscaler.loading import refiner_for

PHOTO = Path(__file__).parents[1] / "examples" / "photo.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("model", "pocket"), ("scheduler", "auto"), ("precision", "auto")):
        parser.add_argument(f"--{name}", default=default)
    for name, number in (("side", 256), ("tile", 384), ("steps", 0), ("overlap", 64), ("feather", 32)):
        parser.add_argument(f"--{name}", type=int, default=number)
    for name, real in (("scale", 4.0), ("strength", 0.25), ("guidance", 0.0)):
        parser.add_argument(f"--{name}", type=float, default=real)
    values = vars(parser.parse_args())
    side, tile = values.pop("side"), values.pop("tile")
    picture = PIL.Image.open(PHOTO).convert("RGB").resize((side, side), PIL.Image.Resampling.LANCZOS)
    plain = {"wavelet_color": 0.0, "wavelet_denoise": 0.0, "consistency": 0.0}  # so that nothing else mends the joints
    settings = upscaler.Settings.of(gan="none", seams="none", **plain, **values)
    refiner = refiner_for(settings)
    ways = {
        "tiles": settings.but(tile=str(tile)),
        "joint": settings.but(tile=str(tile), mode="joint"),
        "untiled": settings.but(tile=f"{max(64, min(8192, round(side * values['scale'])))}"),
    }
    results: dict[str, upscaler.Picture] = {}
    print(f"{'':8} {'worst joint':>11} {'mean':>6} {'inside':>7} {'from untiled':>13} {'seconds':>8}")
    lines: dict[str, str] = {}
    for name, each in ways.items():
        start = time.perf_counter()
        *_, finished = upscaler.run(picture, each, refiner=refiner)
        seconds = time.perf_counter() - start
        assert isinstance(finished, upscaler.Finished)
        results[name] = finished.picture
        report = finished.seams
        assert report is not None
        score = report.before
        lines[name] = f"{score.worst:11.2f} {score.mean:6.2f} {score.inside:7.2f} {{:13.2f}} {seconds:8.1f}"
    for name, line in lines.items():
        far = np.abs(results[name].pixels - results["untiled"].pixels).mean() * 255
        print(f"{name:8} {line.format(far)}")


if __name__ == "__main__":
    main()
