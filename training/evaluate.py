"""Figures of the bundled model on the photographs it was never trained on.

    python -m training.evaluate --photographs DATA [--model weights/pocket] [--inputs clean jpeg] [--strength 0.25 --steps 4] [--save FOLDER]

Each photograph is reduced so that its shorter side has 1024 px; its central square is the original, a quarter of it
(Pillow's antialiased bicubic, or that as a JPEG file of quality 80) is the input. It is enlarged four times by the whole
pipeline at its defaults, with the model and without any diffusion (`model="none"`), and both are compared to the original.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import piq
import torch
from PIL import Image
from torch.nn import functional

import upscaler
from training.photographs import photographs, validation_detail

FIGURES = ("PSNR", "SSIM", "HaarPSI", "GMSD", "energy")


def figures(result: np.ndarray, original: np.ndarray) -> tuple[float, ...]:
    """PSNR in dB, SSIM, HaarPSI, GMSD, and the strength of fine detail over that of the original.

    Args:
        result, original: (H, W, 3) in [0, 1].
    """
    x, y = (
        torch.from_numpy(np.ascontiguousarray(part, np.float32)).permute(2, 0, 1)[None] for part in (result, original)
    )
    x = (x.clamp(0, 1) * 255).round() / 255
    measures = (piq.psnr, piq.ssim, piq.haarpsi, piq.gmsd)
    values = [float(measure(x, y, data_range=1.0)) for measure in measures]
    return (*values, fine_detail(x) / fine_detail(y))


def fine_detail(image: torch.Tensor) -> float:
    """Variance of the brightness minus its Gaussian blur of sigma 1.5."""
    luma = (image * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    line = torch.exp(-torch.arange(-6.0, 7.0).square() / (2 * 1.5**2))
    line = line / line.sum()
    padded = functional.pad(luma, (6,) * 4, mode="reflect")
    blurred = functional.conv2d(functional.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))
    return float((luma - blurred).var())


def quarter(original: Image.Image, kind: str) -> Image.Image:
    """The input that is to be enlarged: "clean" or "jpeg"."""
    small = original.resize([length // 4 for length in original.size], Image.Resampling.BICUBIC)
    if kind == "clean":
        return small
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return Image.open(file)


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
    parser.add_argument("--inputs", nargs="+", choices=("clean", "jpeg"), default=["clean"])
    parser.add_argument("--strength", type=float, default=upscaler.Settings().diffusion.strength)
    parser.add_argument("--steps", type=int, default=upscaler.Settings().diffusion.steps)
    parser.add_argument("--save", type=Path, help="write original, input and results here")
    options = parser.parse_args()

    files = photographs(options.photographs, "validation")
    names = [path.stem if path.parent.name != "images" else path.parents[2].name for path in files]
    for kind in options.inputs:
        rows: dict[str, list[tuple[float, ...]]] = {"none": [], options.model: []}
        for name, path in zip(names, files):
            original = validation_detail(path)
            source = quarter(original, kind)
            for model, of_model in rows.items():
                result = upscaler.upscale(source, 4, model=model, strength=options.strength, steps=options.steps)
                pixels = np.asarray(result.pixels, np.float32)
                of_model.append(figures(pixels, np.asarray(original, np.float32) / 255))
                if options.save:
                    options.save.mkdir(parents=True, exist_ok=True)
                    label = Path(model).name
                    Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8)).save(
                        options.save / f"{name}-{kind}-{label}.png"
                    )
                    original.save(options.save / f"{name}.png")
        for model, of_model in rows.items():
            print(
                f"\n{kind}, {model}, strength {options.strength}, {options.steps} steps\n\n{table(names, of_model)}",
                flush=True,
            )
        change = np.subtract(rows[options.model], rows["none"])
        print(f"\n{kind}, change\n\n{table(names, [tuple(row) for row in change])}", flush=True)


if __name__ == "__main__":
    main()
