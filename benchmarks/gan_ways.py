"""The ways to run the networks of the first stage, on whole pictures: how long each takes, and how far it is from float32.

    python -m benchmarks.gan_ways [SIDE [REPETITIONS [MODEL]]]

All run on the middle of the bundled photograph in turns, so that whatever else the machine does hits all; times are
medians. The first line of each model is the network in float32, in the usual layout.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from upscaler.memory import reuse_freed_memory
from upscaler.models.backends import EXACT, ways
from upscaler.models.gan.ways import make
from upscaler.weights import bundled

PHOTO = Path(__file__).parents[1] / "examples" / "photo.png"
CPU = torch.device("cpu")


def main(side: int, repetitions: int, only: str) -> None:
    reuse_freed_memory()  # as the command does
    with PIL.Image.open(PHOTO) as file:
        left, top = (file.width - side) // 2, (file.height - side) // 2
        image = np.asarray(file.convert("RGB").crop((left, top, left + side, top + side)), np.float32) / 255
    print(f"{torch.get_num_threads()} threads, {side}x{side}, {repetitions} repetitions")
    for model in bundled():
        if model.kind != "gan" or only not in ("", model.name):
            continue
        upscalers = {}
        for way in [EXACT, *(way for way in ways(CPU) if way.form or way.backend != "torch")]:
            try:
                upscalers[way] = make(model, CPU, way)
            except ValueError as error:
                print(f"{model.name}: {way}: {error}")
        results = {way: upscaler(image) for way, upscaler in upscalers.items()}
        seconds: dict[object, list[float]] = {way: [] for way in upscalers}
        for _ in range(repetitions):
            for way, upscaler in upscalers.items():
                start = time.perf_counter()
                upscaler(image)
                seconds[way].append(time.perf_counter() - start)
        for way in upscalers:
            taken = statistics.median(seconds[way])
            difference = np.abs(results[way] - results[EXACT]) * 255
            print(
                f"{model.name:24s} {way!s:28s} {taken:7.3f} s {statistics.median(seconds[EXACT]) / taken:5.2f}x"
                f"   mean {difference.mean():.3f}, most {difference.max():.1f} (1/255)"
            )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 128, int(given[1]) if len(given) > 1 else 3, given[2] if len(given) > 2 else "")
