"""How much context a tile of the GAN stage needs: its error against the whole picture, by distance from a cut.

    python -m benchmarks.gan_halo [PICTURE...]

The middle of each picture goes through the network whole, and again cut in two. Near the cut a half lacks context; the
table says how wrong it is at a distance, in 1/255: mean over the 16 input pixels from there on, mean over all that lies
beyond, and maximum over all that lies beyond. A tile with a halo uses nothing nearer than that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from upscaler.arrays.types import Image
from upscaler.models.gan.load import load_upscaler
from upscaler.models.gan.network import GanUpscaler
from upscaler.weights import bundled

PHOTO = Path(__file__).parents[1] / "examples" / "photo.png"
HALF, HEIGHT = 96, 128
DISTANCES = (8, 12, 16, 24, 32, 36, 40, 48, 56, 64)
BAND = 16


def middle(path: Path) -> Image:
    with PIL.Image.open(path) as file:
        left, top = file.width // 2 - HALF, (file.height - HEIGHT) // 2
        return np.asarray(file.convert("RGB").crop((left, top, left + 2 * HALF, top + HEIGHT)), np.float32) / 255


def errors(upscaler: GanUpscaler, image: Image) -> NDArray[np.float32]:
    """Absolute errors in 1/255 by distance from the cut in input pixels: (HALF, number of values at that distance)."""
    whole, scale = upscaler(image), upscaler.scale
    left = np.abs(upscaler(image[:, :HALF]) - whole[:, : HALF * scale])[:, ::-1]
    right = np.abs(upscaler(image[:, HALF:]) - whole[:, HALF * scale :])
    both = np.stack([left, right]).transpose(2, 0, 1, 3) * 255
    return both.reshape(HALF, -1)


def main(pictures: Sequence[Path]) -> None:
    images = [middle(path) for path in pictures]
    for model in bundled():
        if model.kind == "gan":
            upscaler = load_upscaler(model.name, device="cpu", precision="float32")
            found = np.concatenate([errors(upscaler, image) for image in images], axis=1)
            print(f"{model.name} (halo {model.halo}), {len(images)} pictures")
            for d in DISTANCES:
                near, beyond = found[d : d + BAND], found[d:]
                print(f"  {d:3d} px   near {near.mean():6.3f}   beyond {beyond.mean():6.3f}   max {beyond.max():6.2f}")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [PHOTO])
