"""What several workers gain, and what they cost the run that feeds them: tiles a second against those of one worker.

    python -m benchmarks.workers [--workers 1 2 64] [--seconds 4] [--rounds 4]

Each number of workers is that many processes of Ray on this machine, whose refiner sleeps for some seconds a tile, as a GPU
keeps a processor waiting, and gives the tile back a little changed. It is the run as it is: tiles are cut, sent, received,
filtered and blended. Each worker gets some rounds of tiles, so the picture grows with their number. The processes import no
torch, of which 64 would not fit into the memory of a small machine; what goes to them and back is what goes to those that do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from upscaler.arrays.types import Image
from upscaler.geometry import Box, Size
from upscaler.models.base import OnStep
from upscaler.options.settings import Sampling, Settings
from upscaler.testing import IdentityRefiner

TILE, OVERLAP, STEPS = 512, 64, 20


class Sleeper(IdentityRefiner):
    """Takes some seconds for a batch, in steps, whatever it holds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def batch_size(self, tile: Size) -> int:
        return 1

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        for step in range(STEPS):
            time.sleep(self.seconds / STEPS)
            on_step(step + 1, STEPS)
        return [np.minimum(tile + np.float32(0.02), 1) for tile in tiles]


def measure(workers: int, seconds: float, rounds: int) -> dict[str, float]:
    """Tiles, seconds of the stage that draws them, and of those the seconds that this process's processor worked."""
    from upscaler import pipeline
    from upscaler.events import Finished, Progress, Stage
    from upscaler.pictures.picture import Picture
    from upscaler.workers import Pool, PooledRefiner, cluster

    width, height = (TILE * count - OVERLAP * (count - 1) for count in (workers, rounds))
    picture = Picture(np.random.default_rng(0).random((height, width, 3), np.float32))
    settings = Settings.of(
        scale=1, gan="none", tile=f"{workers}x{rounds}", overlap=OVERLAP, seams="none", consistency=0
    )
    with cluster(str(workers)) as share:
        pool = Pool([partial(Sleeper, seconds)] * workers, share)
        refiner = PooledRefiner(pool)
        pool.wait()  # the processes are there before the clock starts
        worked = 0.0
        for event in pipeline.run(picture, settings, upscaler=None, refiner=refiner):
            if isinstance(event, Progress) and event.stage is Stage.REFINE:
                worked = worked or time.process_time()
            if isinstance(event, Progress) and event.stage is Stage.FINISH and event.done == 0:
                worked = time.process_time() - worked
            if isinstance(event, Finished):
                return {"tiles": workers * rounds, "seconds": event.seconds[Stage.REFINE], "worked": worked}
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 64])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=4)
    parsed = parser.parse_args()
    print(f"{os.cpu_count()} cores; a tile of {TILE}x{TILE} is {TILE * TILE * 12 / 1e6:.1f} MB there and as much back")
    alone = None
    for workers in parsed.workers:
        code = (
            "import json; from benchmarks.workers import measure; "
            f"print(json.dumps(measure({workers}, {parsed.seconds}, {parsed.rounds})))"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rate = found["tiles"] / found["seconds"]
        alone = alone or rate / workers
        print(
            f"{workers:>3} workers: {found['tiles']:.0f} tiles in {found['seconds']:.1f} s, {rate / alone:.1f} times one; "
            f"the run itself worked {found['worked'] / found['tiles'] * 1000:.0f} ms a tile",
            flush=True,
        )


if __name__ == "__main__":
    main()
