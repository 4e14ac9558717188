"""How much faster the GAN stage runs in bfloat16 with channels last than in float32, on this CPU.

    python -m benchmarks.gan_precision [REPETITIONS]

Both run on the same picture in turns, so that whatever else the machine does hits both; times are medians.
Bar: at least twice as fast on a processor with bfloat16 units.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from upscaler.models.device import cpu_has_bfloat16
from upscaler.models.gan.network import load_upscaler
from upscaler.weights import bundled

PHOTO = Path(__file__).parents[1] / "examples" / "photo.png"
SIDE = 128
FORMATS = ("float32", "bfloat16")


def main(repetitions: int) -> None:
    with PIL.Image.open(PHOTO) as file:
        left = (file.width - SIDE) // 2
        image = np.asarray(file.convert("RGB").crop((left, left, left + SIDE, left + SIDE)), np.float32) / 255
    units = "has" if cpu_has_bfloat16() else "has no"
    print(
        f"{torch.get_num_threads()} threads, processor {units} bfloat16 units, {SIDE}x{SIDE}, {repetitions} repetitions"
    )
    for model in bundled():
        if model.kind != "gan":
            continue
        upscalers = {name: load_upscaler(model.name, device="cpu", precision=name) for name in FORMATS}
        results = {name: upscaler(image) for name, upscaler in upscalers.items()}
        seconds: dict[str, list[float]] = {name: [] for name in FORMATS}
        for _ in range(repetitions):
            for name, upscaler in upscalers.items():
                start = time.perf_counter()
                upscaler(image)
                seconds[name].append(time.perf_counter() - start)
        exact, fast = (statistics.median(seconds[name]) for name in FORMATS)
        difference = np.abs(results["bfloat16"] - results["float32"]) * 255
        print(
            f"{model.name:24s} float32 {exact:6.3f} s   bfloat16 {fast:6.3f} s   {exact / fast:4.2f} times as fast"
            f"   difference mean {difference.mean():.2f}, max {difference.max():.1f} (1/255)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
