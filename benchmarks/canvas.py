"""What the engine costs beside its models: time for each tile, and memory for each pixel of the canvas.

    python -m benchmarks.canvas

Runs the whole pipeline with a refiner that does nothing on canvases of growing size, each in a fresh process. The time of
a tile must not depend on the canvas; it is given without and with wavelet filtering, whose cost is also the tile's own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys

SIDES = (2048, 4096, 8192)
ULTIMATE_SD_UPSCALE = {2048: 200, 4096: 684, 8192: 2740}  # ms a tile in its real host on two other cores, see README
SCALE = 4


def measure(side: int, wavelets: float) -> dict[str, float]:
    """Milliseconds for each tile of 512 px, and the growth of the process in bytes for each canvas pixel."""
    import numpy as np

    from upscaler import pipeline
    from upscaler.events import Finished
    from upscaler.options.settings import Settings
    from upscaler.pictures.picture import Picture
    from upscaler.resolve import plan_tiles
    from upscaler.testing import IdentityRefiner

    settings = Settings.of(scale=SCALE, seams="none", steps=1, wavelet_color=wavelets, wavelet_denoise=wavelets)
    small = np.random.default_rng(0).random((side // SCALE, side // SCALE, 3), np.float32)
    warm = Picture.from_array(small[:64, :64])
    for _ in pipeline.run(warm, settings, upscaler=None, refiner=IdentityRefiner()):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for event in pipeline.run(Picture.from_array(small), settings, upscaler=None, refiner=IdentityRefiner()):
        if isinstance(event, Finished):
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            tiles = len(plan_tiles(event.picture.size, settings.tiles, IdentityRefiner()))
            seconds = next(value for stage, value in event.seconds.items() if stage.value == "refine")
            return {"ms": seconds / tiles * 1000, "bytes": (after - before) * 1024, "tiles": tiles}
    raise AssertionError


def in_fresh_process(side: int, wavelets: float) -> dict[str, float]:
    code = f"import json; from benchmarks.canvas import measure; print(json.dumps(measure({side}, {wavelets})))"
    return json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    print(
        f"{'canvas':>8} {'tiles':>6} {'ms a tile':>10} {'with wavelets':>14} {'ratio to USDU':>14} {'MiB':>7} {'bytes a pixel':>14}"
    )
    times: list[float] = []
    memory: list[float] = []
    for side in SIDES:
        plain, filtered = in_fresh_process(side, 0.0), in_fresh_process(side, 0.5)
        times.append(plain["ms"])
        memory.append(max(plain["bytes"], filtered["bytes"]))
        ratio = ULTIMATE_SD_UPSCALE[side] / plain["ms"]
        print(
            f"{side:>7}² {plain['tiles']:>6.0f} {plain['ms']:>10.1f} {filtered['ms']:>14.1f} {ratio:>13.0f}x "
            f"{memory[-1] / 2**20:>7.0f} {memory[-1] / side**2:>14.1f}"
        )
    print(f"time of a tile, {SIDES[-1]}² against {SIDES[0]}²: {times[-1] / times[0]:.2f}x")
    growth = (memory[-1] - memory[-2]) / (SIDES[-1] ** 2 - SIDES[-2] ** 2)
    print(f"memory for each further pixel of the canvas: {growth:.1f} bytes (USDU in its host: 82)")


if __name__ == "__main__":
    main()
