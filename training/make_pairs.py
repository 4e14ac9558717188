"""Pairs to train on: a detail of a photograph, and what the pipeline makes of its degraded reduction before diffusion.

    python -m training.make_pairs --photographs DATA --output PAIRS [--count 400] [--gans NAME ...] [--factors 4 2]

Each file, PAIRS/<random>-<photograph>-x<factor>.npy, is (1 + gans, H, W, 3) uint8: the photograph, and one base picture
for each first stage, in the order given, all of the same input. Making more pairs while a training runs is fine: it
picks them up.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

import upscaler
from training.photographs import photographs
from upscaler.models import load_upscaler

GANS = ("realesrgan-x4plus", "realesr-animevideov3", "none")


def pick(picture: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """A square detail of a randomly reduced picture; of three places mostly the one with most texture."""
    least = side / min(picture.size)
    factor = float(np.exp(rng.uniform(np.log(max(least, 0.25)), np.log(max(least, 0.8)))))
    if picture.width * factor < 1200:
        factor = min(1.0, max(factor, 1200 / picture.width))
    picture = picture.resize([round(length * factor) for length in picture.size], Image.Resampling.LANCZOS)
    best, most = None, -1.0
    for _ in range(3 if rng.random() < 0.8 else 1):
        left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
        detail = picture.crop((left, top, left + side, top + side))
        texture = float(np.abs(np.diff(np.asarray(detail.convert("L"), np.float32), axis=1)).mean())
        if texture > most:
            best, most = detail, texture
    assert best is not None
    return best


def degrade(detail: Image.Image, factor: int, rng: np.random.Generator) -> Image.Image:
    """A detail as it may come to the upscaler: two in five clean, the others blurred, sharpened, noisy or compressed."""
    size = detail.width // factor, detail.height // factor
    if rng.random() < 0.4:
        return detail.resize(size, Image.Resampling.BICUBIC)
    if rng.random() < 0.2:
        detail = detail.filter(ImageFilter.GaussianBlur(factor / 4 * rng.uniform(0.5, 2.5)))
    if rng.random() < 0.12:  # compressed large, then reduced, as a picture of a website is
        large = [round(length * rng.uniform(1.2, 2.0)) for length in size]
        detail = _compressed(detail.resize(large, Image.Resampling.BICUBIC), rng)
    filters = [Image.Resampling.BICUBIC] * 3 + [
        Image.Resampling.BOX,
        Image.Resampling.LANCZOS,
        Image.Resampling.LANCZOS,
    ]
    small = detail.resize(size, filters[int(rng.integers(len(filters)))])
    if rng.random() < 0.15:
        small = small.filter(ImageFilter.UnsharpMask(rng.uniform(0.5, 1.5), int(rng.integers(30, 120)), 0))
    if rng.random() < 0.15:
        pixels = np.asarray(small)
        noisy = pixels + rng.normal(0, rng.uniform(0.5, 4), pixels.shape)
        small = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
    return _compressed(small, rng) if rng.random() < 0.55 else small


def _compressed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(40, 96)), subsampling=2 if rng.random() < 0.5 else 0)
    return Image.open(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, nargs="+", help="folders with photographs")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pairs")
    parser.add_argument("--count", type=int, default=400, help="files to make")
    parser.add_argument("--side", type=int, default=512, help="of a detail, pixels")
    parser.add_argument("--gans", nargs="+", default=GANS, help="first stages, the costly ones first")
    parser.add_argument("--factors", nargs="+", type=int, default=[4], help="factors of enlargement, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of the first stages")
    options = parser.parse_args()

    files = [path for folder in options.photographs for path in photographs(folder, "train")]
    hardware = {"device": options.device, "precision": options.precision}
    gans = [None if name == "none" else load_upscaler(name, **hardware) for name in options.gans]
    rng = np.random.default_rng(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    made, started = 0, time.monotonic()
    while made < options.count:
        for index in rng.permutation(len(files))[: options.count - made]:
            picture = Image.open(files[index]).convert("RGB")
            factor = int(rng.choice(options.factors))
            detail = pick(picture, options.side, rng)
            small = degrade(detail, factor, rng)
            rows = [np.asarray(detail)]
            for gan in gans:
                stage = {"gan": "none"} if gan is None else {"upscaler": gan}
                result = upscaler.upscale(small, width=detail.width, height=detail.height, model="none", **stage)
                rows.append((np.asarray(result.pixels, np.float32) * 255).round().clip(0, 255).astype(np.uint8))
            target = options.output / f"{rng.integers(1 << 40):010x}-{files[index].stem[:12]}-x{factor}.npy"
            partial = target.with_suffix(".part")
            with partial.open("wb") as stream:
                np.save(stream, np.stack(rows))
            os.replace(partial, target)
            made += 1
            if made % 10 == 0:
                print(f"{made} files, {(time.monotonic() - started) / made:.1f} s each", flush=True)


if __name__ == "__main__":
    main()
