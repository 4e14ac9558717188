"""Pairs to train on: a detail of a photograph, and what the pipeline makes of its degraded quarter before diffusion.

    python -m training.make_pairs --photographs DATA --output PAIRS [--count 400]

Each pair is one file, PAIRS/<random>-<photograph>.npy: (2, H, W, 3) uint8, the photograph and the base picture, which is
Real-ESRGAN x4plus followed by input consistency. Making more pairs while a training runs is fine: it picks them up.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from spandrel import ModelLoader

from training.photographs import photographs
from upscaler.stages.consistency import enforce_consistency

ROOT = Path(__file__).parent.parent
SCALE = 4


class Enlarger:
    """Real-ESRGAN x4plus and input consistency: (h, w, 3) uint8 to (4h, 4w, 3) float32 in [0, 1]."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        self.model = ModelLoader().load_from_file(weights).model.eval().to(device, torch.bfloat16)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.device = device

    @torch.inference_mode()
    def __call__(self, small: np.ndarray) -> np.ndarray:
        source = np.ascontiguousarray(small, np.float32) / 255
        tensor = torch.from_numpy(source).permute(2, 0, 1)[None].to(self.device, torch.bfloat16)
        large = self.model(tensor.contiguous(memory_format=torch.channels_last))[0].float().clamp(0, 1)
        canvas = np.ascontiguousarray(large.permute(1, 2, 0).cpu().numpy())
        enforce_consistency(canvas, source)
        return canvas.clip(0, 1)


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


def degrade(detail: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """The quarter of a detail as it may come to the upscaler: mostly clean, some blurred, noisy or compressed."""
    if rng.random() < 0.12:
        detail = detail.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.0)))
    filters = [Image.Resampling.BICUBIC] * 6 + [Image.Resampling.BOX, Image.Resampling.LANCZOS]
    small = detail.resize([length // SCALE for length in detail.size], filters[int(rng.integers(len(filters)))])
    pixels = np.asarray(small)
    if rng.random() < 0.08:
        noisy = pixels + rng.normal(0, rng.uniform(0.5, 3), pixels.shape)
        pixels = noisy.round().clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        file = io.BytesIO()
        subsampling = 2 if rng.random() < 0.5 else 0
        Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(60, 96)), subsampling=subsampling)
        pixels = np.asarray(Image.open(file))
    return pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photographs", type=Path, required=True, help="folder that get_data filled, or any with pictures"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the pairs")
    parser.add_argument("--count", type=int, default=400, help="pairs to make")
    parser.add_argument("--side", type=int, default=768, help="of a pair, pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "realesrgan-x4plus.safetensors")
    options = parser.parse_args()

    files = photographs(options.photographs, "train")
    enlarge = Enlarger(options.weights, torch.device(options.device))
    rng = np.random.default_rng(options.seed)
    options.output.mkdir(parents=True, exist_ok=True)
    made, started = 0, time.monotonic()
    while made < options.count:
        for index in rng.permutation(len(files)):
            picture = Image.open(files[index]).convert("RGB")
            for _ in range(2):
                detail = pick(picture, options.side, rng)
                base = enlarge(degrade(detail, rng))
                pair = np.stack([np.asarray(detail), (base * 255).round().astype(np.uint8)])
                target = options.output / f"{rng.integers(1 << 40):010x}-{files[index].stem[:12]}.npy"
                partial = target.with_suffix(".part")
                with partial.open("wb") as stream:
                    np.save(stream, pair)
                os.replace(partial, target)
                made += 1
            print(f"{made} pairs, {(time.monotonic() - started) / made:.1f} s each", flush=True)


if __name__ == "__main__":
    main()
