"""The sample of each preset: half of it before, half of it after, at 100 percent of a real run.

    python -m upscaler_ui.samples.make

Writes `<preset>.webp` beside this file. The right half of each was enlarged four times by the preset, with the bundled
weights; the left half is the same picture enlarged by a bicubic filter. Some of what is around the crop is run too, as it
would be in a larger picture.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

import upscaler
from upscaler.options import presets

from .drawings import eye, painting

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
SIDE, FACTOR, MARGIN = 256, 4, 24


def sources() -> dict[str, Image.Image]:
    """A picture for each preset, of SIDE / FACTOR pixels and a margin around them."""
    photograph = Image.open(CHECKOUT / "examples" / "photo.png").convert("RGB")
    dogs = Image.open(CHECKOUT / "tests" / "data" / "friends.jpg").convert("RGB")
    return {
        "photo": _around(photograph, 297, 232),
        "art": _around(painting(photograph), 138, 150),
        "anime": eye(SIDE // FACTOR),
        "texture": _around(photograph, 452, 260),
        "faithful": _around(photograph, 380, 205),
        "fast": _around(dogs, 240, 196),
    }


def _around(image: Image.Image, x: int, y: int) -> Image.Image:
    reach = SIDE // FACTOR // 2 + MARGIN
    return image.crop((x - reach, y - reach, x + reach, y + reach))


def sample(preset: presets.Preset, source: Image.Image) -> Image.Image:
    """Before and after, side by side."""
    settings = preset.over(upscaler.Settings())
    after = upscaler.to_pil(upscaler.upscale(source, FACTOR, settings=settings)).convert("RGB")
    before = source.resize(after.size, Image.Resampling.BICUBIC)
    left, top = (side // 2 - SIDE // 2 for side in after.size)
    half = SIDE // 2
    both = after.crop((left, top, left + SIDE, top + SIDE))
    both.paste(before.crop((left, top, left + half, top + SIDE)), (0, 0))
    both.paste((255, 255, 255), (half - 1, 0, half + 1, SIDE))
    return both


def main() -> None:
    for name, source in sources().items():
        sample(presets.get(name), source).save(HERE / f"{name}.webp", quality=90, method=6)


if __name__ == "__main__":
    main()
