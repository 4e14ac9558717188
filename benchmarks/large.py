"""What pictures larger than memory cost: time for each tile, and memory, with the canvas on disk.

    python -m benchmarks.large [--sizes 2048x2048 8192x8192 32768x32768] [--scratch FOLDER] [--png]

Runs the whole pipeline with fakes that add noise, each size in a fresh process, the canvas in files of the scratch folder
whatever its size; with `--png` the result is written too. The peak of memory is that of the process, as the system counts
it. The processor's time tells what the run itself costs where other programs or the disk keep it waiting. A tile must not
cost more than 1.2 times what it costs at the first size. Memory follows the width of a picture, not its height, so that
65536x16384 tells what 65536x65536 takes, on a quarter of the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

SCALE = 4


def measure(width: int, height: int, scratch: str, png: bool) -> dict[str, float]:
    """Seconds of each stage, tiles, and the peak of memory in bytes."""
    import numpy as np

    from upscaler import pipeline, save
    from upscaler.arrays.store import Store
    from upscaler.events import Finished, Progress, Stage
    from upscaler.options.settings import Settings
    from upscaler.pictures.picture import Picture
    from upscaler.resolve import plan_tiles
    from upscaler.testing import NearestUpscaler, NoiseRefiner

    class Refiner(NoiseRefiner):
        """Adds a fixed pattern: noise of the canvas would cost more than all the rest."""

        def redraw(self, tile, box, sampling, seed):  # type: ignore[no-untyped-def]
            tile[::2, ::3] += np.float32(0.02)
            return tile

    store = Store(Path(scratch))
    settings = Settings.of(scale=SCALE, steps=1, seams="none")
    small = store.empty((height // SCALE, width // SCALE, 3))
    for top in range(0, small.shape[0], 256):
        small[top : top + 256] = np.random.default_rng(top).random((256, small.shape[1], 3), np.float32)
    upscaler, refiner = NearestUpscaler(SCALE), Refiner()
    stage, worked, start = Stage.ENLARGE, 0.0, os.times()
    for event in pipeline.run(Picture(small), settings, upscaler=upscaler, refiner=refiner, store=store):
        if isinstance(event, Progress) and event.stage is not stage:
            now = os.times()
            if stage is Stage.REFINE:
                worked = now.user + now.system - start.user - start.system
            stage, start = event.stage, now
        if isinstance(event, Finished):
            tiles = len(plan_tiles(event.picture.size, settings.tiles, refiner))
            result = {f"{stage}": seconds for stage, seconds in event.seconds.items()}
            start = time.perf_counter()
            if png:
                save(event.picture, Path(scratch) / f"large-{width}x{height}.png", overwrite=True)
                result["save"] = time.perf_counter() - start
            status = Path("/proc/self/status").read_text().splitlines()
            peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
            return {**result, "tiles": tiles, "worked": worked, "peak": peak}
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["2048x2048", "8192x8192", "32768x32768"], metavar="WxH")
    parser.add_argument("--scratch", default=".")
    parser.add_argument("--png", action="store_true")
    parsed = parser.parse_args()
    first = None
    for size in parsed.sizes:
        width, height = map(int, size.split("x"))
        code = (
            "import json; from benchmarks.large import measure; "
            f"print(json.dumps(measure({width}, {height}, {parsed.scratch!r}, {parsed.png})))"
        )
        found = json.loads(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)
        each, worked = (found[name] / found["tiles"] * 1000 for name in ("refine", "worked"))
        first = first or (each, worked)
        told = ("tiles", "worked", "peak")
        seconds = ", ".join(f"{name} {value:.1f} s" for name, value in found.items() if name not in told)
        print(
            f"{size:>11}: {found['tiles']:.0f} tiles, {each:.1f} ms each ({each / first[0]:.2f}x), of the processor "
            f"{worked:.1f} ms ({worked / first[1]:.2f}x), peak {found['peak'] / 2**20:.0f} MiB; {seconds}",
            flush=True,
        )


if __name__ == "__main__":
    main()
