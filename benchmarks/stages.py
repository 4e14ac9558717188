"""Where the time of a run goes: the bundled photograph 512x512 -> 2048x2048, with and without the diffusion pass.

    python -m benchmarks.stages

The same process runs both ways after loading the models, and prints the seconds of each stage and their ratio.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

import upscaler
from upscaler.loading import refiner_for, upscaler_for
from upscaler.memory import reuse_freed_memory

PHOTO = Path(__file__).parents[1] / "examples" / "photo.png"


def main() -> None:
    reuse_freed_memory()  # as the command does
    settings = upscaler.Settings()
    start = time.perf_counter()
    gan, refiner = upscaler_for(settings), refiner_for(settings)
    print(f"loading the models: {time.perf_counter() - start:.1f} s, {torch.get_num_threads()} threads")
    totals: list[float] = []
    for label, options in (("all stages", {"refiner": refiner}), ("-m none", {"model": "none"})):
        start = time.perf_counter()
        *_, finished = upscaler.run(PHOTO, settings, upscaler=gan, **options)
        totals.append(time.perf_counter() - start)
        assert isinstance(finished, upscaler.Finished)
        stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in finished.seconds.items())
        print(f"{label:12} {totals[-1]:6.1f} s  ({stages})")
    print(f"all stages against none: {totals[0] / totals[1]:.2f}x")


if __name__ == "__main__":
    main()
