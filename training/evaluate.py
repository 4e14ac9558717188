"""Figures of the bundled model on photographs it was never trained on, and a sheet of details to look at.

    python -m training.evaluate --photographs DATA [--model weights/pocket] [--views reduced native] [--inputs clean jpeg]
        [--ways none photo texture strength=0.5,steps=2] [--memory FOLDER] [--sheet FILE [--details NAME:X,Y ...]]

The originals are the central 1024x1024 of each photograph that photographs.toml holds out: as it is (native), or reduced so
that its shorter side has 1024 px, which makes it sharper and the task harder. In any other folder they are all its pictures
(a test set, such as Kodak's). A quarter of it (Pillow's antialiased bicubic, or that as a JPEG file of quality 80) is the
input. It is enlarged four times by the whole pipeline in each way: a preset by its name, "none" for the default without
diffusion, or some options. The first is what the others are compared to.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import piq
import torch
from PIL import Image as PillowImage
from torch.nn import functional

import upscaler
from training.photographs import photographs, validation_detail
from upscaler.arrays.resample import resample
from upscaler.arrays.types import Image
from upscaler.geometry import Size
from upscaler.models import load_refiner, load_upscaler
from upscaler.models.base import Upscaler
from upscaler.options import presets

FIGURES = ("PSNR", "SSIM", "HaarPSI", "GMSD", "energy", "drift")
_FORMATS = (".2f", ".4f", ".4f", ".4f", ".2f", ".2f")
_CROP = 192  # side of a detail on a sheet, pixels


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


def figures(result: np.ndarray, original: np.ndarray, small: np.ndarray) -> tuple[float, ...]:
    """PSNR in dB, SSIM, HaarPSI, GMSD, the strength of fine detail over that of the original, and the drift.

    The drift is by how much the result, scaled down, differs from the input on average, in 1/255.

    Args:
        result, original: (H, W, 3) in [0, 1].
        small: the input.
    """
    x, y = (
        torch.from_numpy(np.ascontiguousarray(part, np.float32)).permute(2, 0, 1)[None] for part in (result, original)
    )
    x = (x.clamp(0, 1) * 255).round() / 255
    similarity = float(piq.ssim(x, y, data_range=1.0, downsample=False))
    psnr, haarpsi, gmsd = (float(measure(x, y, data_range=1.0)) for measure in (piq.psnr, piq.haarpsi, piq.gmsd))
    back = resample(np.ascontiguousarray(result, np.float32), Size(small.shape[1], small.shape[0]))
    drift = float(np.abs(back - small).mean() * 255)
    return psnr, similarity, haarpsi, gmsd, fine_detail(x) / fine_detail(y), drift


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
        lines.append(f"| {name} | " + " | ".join(format(*pair) for pair in zip(row, _FORMATS)) + " |")
    return "\n".join(lines)


def originals(folder: Path, view: Literal["native", "reduced"]) -> dict[str, PillowImage.Image]:
    """What the results are compared to, by name; sides are multiples of four."""
    held_out = photographs(folder, "validation")
    if held_out:
        names = [path.stem if path.parent.name != "images" else path.parents[2].name for path in held_out]
        return {name: validation_detail(path, view) for name, path in zip(names, held_out)}
    found: dict[str, PillowImage.Image] = {}
    for path in photographs(folder, "train"):
        picture = PillowImage.open(path).convert("RGB")
        found[path.stem] = picture.crop((0, 0, *(length // 4 * 4 for length in picture.size)))
    return found


def settings_of(way: str) -> upscaler.Settings:
    """The settings that a preset, "none", or some options stand for."""
    if way == "none" or "=" in way:
        options = "model=none" if way == "none" else way
        return upscaler.Settings().but(
            **{
                name: value
                if name in ("gan", "model", "scheduler", "seams")
                else float(value)
                if "." in value
                else int(value)
                for name, value in (part.split("=") for part in options.split(","))
            }
        )
    return presets.get(way).over(upscaler.Settings())


class Ways:
    """The pipeline in several ways, with each model loaded once and each first stage computed once."""

    def __init__(self, model: str, memory: Path | None) -> None:
        self.model, self.memory = load_refiner(model), memory
        self.gans: dict[str, Remembering] = {}

    def __call__(self, small: PillowImage.Image, way: str) -> np.ndarray:
        """(H, W, 3), four times as large."""
        settings = settings_of(way)
        stages: dict[str, Any] = {}
        name = settings.gan.model
        if name != "none":
            if name not in self.gans:
                self.gans[name] = Remembering(load_upscaler(name), self.memory and self.memory / name)
            stages["upscaler"] = self.gans[name]
        if settings.diffusion.model != "none":
            stages["refiner"] = self.model
        return np.asarray(upscaler.upscale(small, 4, settings=settings, **stages).pixels, np.float32)


def busiest(original: np.ndarray) -> tuple[int, int]:
    """Left and top of the detail with the most of fine structure."""
    luma = torch.from_numpy(original.mean(axis=2))[None, None]
    local = functional.avg_pool2d(luma.diff(dim=3).abs()[..., :-1, :], _CROP, stride=16)[0, 0]
    top, left = divmod(int(local.argmax()), local.shape[1])
    return left * 16, top * 16


def row_of(parts: list[np.ndarray], left: int, top: int) -> np.ndarray:
    """The same detail of several pictures (H, W, 3) side by side, with white between them; uint8."""
    gap = np.ones((_CROP, 4, 3), np.float32)
    cut = [part[top : top + _CROP, left : left + _CROP] for part in parts]
    joined = np.concatenate([piece for part in cut for piece in (part, gap)][:-1], axis=1)
    return (joined.clip(0, 1) * 255).round().astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=Path, required=True, help="folder that get_data filled, or a test set")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--views", nargs="+", choices=("reduced", "native"), default=["reduced"])
    parser.add_argument("--inputs", nargs="+", choices=("clean", "jpeg"), default=["clean"])
    parser.add_argument("--ways", nargs="+", default=["none", "photo"])
    parser.add_argument("--only", nargs="+", help="names of some of the photographs")
    parser.add_argument("--memory", type=Path, help="folder to keep the results of the first stages in")
    parser.add_argument("--save", type=Path, help="write original, input and results here")
    parser.add_argument("--sheet", type=Path, help="write details here: bicubic, each way, original")
    parser.add_argument("--details", nargs="+", default=[], help="which, NAME:LEFT,TOP; default is the busiest of each")
    options = parser.parse_args()

    run = Ways(options.model, options.memory)
    chosen = {name: tuple(map(int, place.split(","))) for name, place in (part.split(":") for part in options.details)}
    sheet: list[np.ndarray] = []
    for view, kind in product(options.views, options.inputs):
        rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in options.ways}
        pictures = originals(options.photographs, view)
        names = [name for name in pictures if not options.only or name in options.only]
        for name in names:
            small, true = quarter(pictures[name], kind), np.asarray(pictures[name], np.float32) / 255
            results = {way: run(small, way) for way in options.ways}
            for way, result in results.items():
                rows[way].append(figures(result, true, np.asarray(small.convert("RGB"), np.float32) / 255))
                if options.save:
                    options.save.mkdir(parents=True, exist_ok=True)
                    rounded = (result * 255).round().clip(0, 255).astype(np.uint8)
                    PillowImage.fromarray(rounded).save(options.save / f"{name}, {view}, {kind}, {way}.png")
            if options.sheet and (not chosen or name in chosen):
                smooth = np.asarray(small.convert("RGB").resize(pictures[name].size, PillowImage.Resampling.BICUBIC))
                parts = [smooth.astype(np.float32) / 255, *results.values(), true]
                sheet.append(row_of(parts, *(chosen.get(name) or busiest(true))))
                sheet.append(np.full((4, sheet[0].shape[1], 3), 255, np.uint8))
        for way in options.ways:
            print(f"\n{view}, {kind}, {way}\n\n{table(names, rows[way])}", flush=True)
            if way != options.ways[0]:
                change = [tuple(row) for row in np.subtract(rows[way], rows[options.ways[0]])]
                print(f"\n{view}, {kind}, {way}, change\n\n{table(names, change)}", flush=True)
    if options.sheet:
        PillowImage.fromarray(np.concatenate(sheet[:-1])).save(options.sheet, quality=90)


if __name__ == "__main__":
    main()
