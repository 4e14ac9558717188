"""Figures of the bundled model on the photographs it was never trained on.

    python -m training.evaluate --photographs DATA [--model weights/pocket] [--views reduced native] [--inputs clean jpeg]
        [--strength 0.1 0.25] [--steps 1] [--save FOLDER]

The original is the central 1024x1024 of a photograph: as it is (native), or reduced so that its shorter side has 1024 px,
which makes it sharper and the task harder. A quarter of it (Pillow's antialiased bicubic, or that as a JPEG file of
quality 80) is the input. It is enlarged four times by the whole
pipeline at its defaults, with the model and without any diffusion (`model="none"`), and both are compared to the original.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import piq
import torch
from PIL import Image as PillowImage
from torch.nn import functional

import upscaler
from training.photographs import photographs, validation_detail
from upscaler.arrays.types import Image
from upscaler.models import load_refiner, load_upscaler
from upscaler.models.base import Upscaler

FIGURES = ("PSNR", "SSIM", "HaarPSI", "GMSD", "energy")


class Remembering:
    """A model of the first stage that computes each tile once, in memory and in a folder."""

    def __init__(self, model: Upscaler, folder: Path | None) -> None:
        self.scale, self.halo = model.scale, model.halo
        self.model, self.folder = model, folder
        self.known: dict[str, Image] = {}

    def __call__(self, image: Image, *, on_step: object = None) -> Image:
        """See `Upscaler`."""
        key = hashlib.sha256(image.tobytes()).hexdigest()
        file = self.folder / f"{key}.npy" if self.folder else None
        if key not in self.known:
            if file and file.is_file():
                self.known[key] = np.load(file)
            else:
                self.known[key] = self.model(image)
                if file:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    np.save(file, self.known[key])
        return self.known[key].copy()


def figures(result: np.ndarray, original: np.ndarray) -> tuple[float, ...]:
    """PSNR in dB, SSIM, HaarPSI, GMSD, and the strength of fine detail over that of the original.

    Args:
        result, original: (H, W, 3) in [0, 1].
    """
    x, y = (
        torch.from_numpy(np.ascontiguousarray(part, np.float32)).permute(2, 0, 1)[None] for part in (result, original)
    )
    x = (x.clamp(0, 1) * 255).round() / 255
    similarity = float(piq.ssim(x, y, data_range=1.0, downsample=False))
    psnr, haarpsi, gmsd = (float(measure(x, y, data_range=1.0)) for measure in (piq.psnr, piq.haarpsi, piq.gmsd))
    return psnr, similarity, haarpsi, gmsd, fine_detail(x) / fine_detail(y)


def fine_detail(image: torch.Tensor) -> float:
    """Variance of the brightness minus its Gaussian blur of sigma 1.5."""
    luma = (image * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    line = torch.exp(-torch.arange(-6.0, 7.0).square() / (2 * 1.5**2))
    line = line / line.sum()
    padded = functional.pad(luma, (6,) * 4, mode="reflect")
    blurred = functional.conv2d(functional.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))
    return float((luma - blurred).var())


def quarter(original: PillowImage.Image, kind: str) -> PillowImage.Image:
    """The input that is to be enlarged: "clean" or "jpeg"."""
    small = original.resize([length // 4 for length in original.size], PillowImage.Resampling.BICUBIC)
    if kind == "clean":
        return small
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return PillowImage.open(file)


def table(names: list[str], rows: list[tuple[float, ...]]) -> str:
    """A Markdown table of figures with their mean."""
    lines = ["| photograph | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 1) + "|"]
    for name, row in [*zip(names, rows), ("**mean**", tuple(np.mean(rows, axis=0)))]:
        psnr, ssim, haarpsi, gmsd, energy = row
        lines.append(f"| {name} | {psnr:.2f} | {ssim:.4f} | {haarpsi:.4f} | {gmsd:.4f} | {energy:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder that get_data filled")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--views", nargs="+", choices=("reduced", "native"), default=["reduced"])
    parser.add_argument("--inputs", nargs="+", choices=("clean", "jpeg"), default=["clean"])
    usual = upscaler.Settings().diffusion
    parser.add_argument("--strength", type=float, nargs="+", default=[usual.strength])
    parser.add_argument("--steps", type=int, nargs="+", default=[usual.steps])
    parser.add_argument(
        "--memory", type=Path, help="folder to keep the results of the first stage in, for the next time"
    )
    parser.add_argument("--save", type=Path, help="write original, input and results here")
    options = parser.parse_args()

    files = photographs(options.photographs, "validation")
    names = [path.stem if path.parent.name != "images" else path.parents[2].name for path in files]
    enlarge = Remembering(load_upscaler("realesrgan-x4plus"), options.memory)
    refine = load_refiner(options.model)
    ways: dict[str, dict[str, Any]] = {"without diffusion": {"model": "none"}}
    for strength, steps in product(options.strength, options.steps):
        ways[f"strength {strength}, steps {steps}"] = {"refiner": refine, "strength": strength, "steps": steps}

    for view, kind in product(options.views, options.inputs):
        originals = [validation_detail(path, view) for path in files]
        without: list[tuple[float, ...]] = []
        for label, settings in ways.items():
            rows = []
            for name, original in zip(names, originals):
                picture = upscaler.upscale(quarter(original, kind), 4, upscaler=enlarge, **settings)
                result = np.asarray(picture.pixels, np.float32)
                rows.append(figures(result, np.asarray(original, np.float32) / 255))
                if options.save:
                    options.save.mkdir(parents=True, exist_ok=True)
                    original.save(options.save / f"{name}, {view}.png")
                    rounded = (result * 255).round().clip(0, 255).astype(np.uint8)
                    PillowImage.fromarray(rounded).save(options.save / f"{name}, {view}, {kind}, {label}.png")
            print(f"\n{view}, {kind}, {label}\n\n{table(names, rows)}", flush=True)
            without = without or rows
            if rows is not without:
                change = [tuple(row) for row in np.subtract(rows, without)]
                print(f"\n{view}, {kind}, {label}, change\n\n{table(names, change)}", flush=True)


if __name__ == "__main__":
    main()
