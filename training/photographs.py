"""Which files are photographs, and what each may be used for: see photographs.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}


def photographs(folder: Path, share: str) -> list[Path]:
    """The photographs below `folder` of one share: "train", "validation" or "demo".

    A folder without any file of photographs.toml is somebody's own: everything in it is for training.
    """
    listed = tomllib.loads(Path(__file__).with_name("photographs.toml").read_text("utf-8"))["photographs"]
    known = {entry["file"]: entry["share"] for entry in listed}
    found = [path for path in (folder / file for file in known) if path.is_file()]
    if found:
        return [folder / file for file, its in known.items() if its == share and (folder / file).is_file()]
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES) if share == "train" else []


def validation_detail(path: Path, view: Literal["native", "reduced"]) -> Image.Image:
    """The central 1024x1024 of a photograph, or of it reduced to a shorter side of 1024 px."""
    picture = Image.open(path).convert("RGB")
    if view == "reduced":
        factor = 1024 / min(picture.size)
        size = [max(round(length * factor), 1024) for length in picture.size]
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    left, top = ((length - 1024) // 2 for length in picture.size)
    return picture.crop((left, top, left + 1024, top + 1024))
