"""What wavelet filtering of one tile costs, against a plain threshold by PyWavelets or against another checkout.

    python -m benchmarks.detail [--against DIR]

Both ways filter the same tiles in turn, in this process. A second table gives the filter on two threads at once, and the
question whether a tile has nothing to refine. `DIR` is the root of another checkout of this project.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pywt
from numpy.typing import NDArray

from upscaler.stages.detail import filter_detail, has_nothing_to_refine, room_of

Array = NDArray[np.float32]
Filter = Callable[[Array, Array], Array]
PHOTO = Path(__file__).parents[1] / "examples" / "photo.png"
SIDES = (512, 640)
SCALE = 4
ROUNDS = 30


def plain(refined: Array, reference: Array) -> Array:
    """The least that a wavelet filter does: each channel's difference there and back, four levels, one threshold."""
    result = refined.copy()
    for channel in range(3):
        difference = refined[..., channel] - reference[..., channel]
        low, *bands = pywt.wavedec2(difference, "db2", "symmetric", level=4)
        soft = [tuple(pywt.threshold(band, 1 / 255, "soft") for band in level) for level in bands]
        result[..., channel] = reference[..., channel] + pywt.waverec2([low, *soft], "db2", "symmetric")
    return result


def filter_of(checkout: Path) -> Filter:
    """`filter_detail` of another checkout, which may still have it in a flat module."""
    folder = checkout / "upscaler"
    spec = importlib.util.spec_from_file_location(
        "against", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec
    assert spec.loader
    sys.modules["against"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["against"])
    name = "against.stages.detail" if (folder / "stages" / "detail.py").exists() else "against.wavelet"
    return partial(importlib.import_module(name).filter_detail, scale=SCALE)


def milliseconds(call: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """By default of this thread on its processor, so that other programs on the machine count for little."""
    start = clock()
    call()
    return (clock() - start) * 1000


def tiles(side: int) -> tuple[Array, Array]:
    """A redrawn tile and what it was cut from: the photograph, mirrored where it is too small, and its noisy copy."""
    with PIL.Image.open(PHOTO) as file:
        pixels = np.asarray(file.convert("RGB"), np.float32) / 255
    margins = [(0, max(side - length, 0)) for length in pixels.shape[:2]]
    reference = np.ascontiguousarray(np.pad(pixels, [*margins, (0, 0)], "reflect")[:side, :side])
    noise = np.random.default_rng(0).normal(0, 5 / 255, reference.shape)
    return (reference + noise).astype(np.float32), reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, metavar="DIR")
    checkout = parser.parse_args().against
    other = filter_of(checkout) if checkout else plain
    ours = partial(filter_detail, scale=SCALE)
    print(f"best of {ROUNDS}, ms a tile; against {checkout or 'a plain threshold by PyWavelets'}")
    print(f"{'side':>6} {'against':>9} {'ours':>7} {'ratio':>7}")
    for side in SIDES:
        refined, reference = tiles(side)
        pairs = [[milliseconds(partial(way, refined, reference)) for way in (other, ours)] for _ in range(ROUNDS)]
        before, after = (min(column) for column in zip(*pairs))
        print(f"{side:6} {before:9.1f} {after:7.2f} {before / after:7.2f}")
    refined, reference = tiles(SIDES[0])
    with ThreadPoolExecutor(2) as pool:
        two_at_once, in_turn = (partial(way, ours, [refined] * 4, [reference] * 4) for way in (pool.map, map))
        four = [milliseconds(lambda: list(two_at_once()), time.perf_counter) for _ in range(ROUNDS)]
        one = [milliseconds(lambda: list(in_turn()), time.perf_counter) for _ in range(ROUNDS)]
    two_threads, one_thread = min(four), min(one)
    print(
        f"four tiles: one thread {one_thread:.1f} ms, two threads {two_threads:.1f} ms, {one_thread / two_threads:.2f}x"
    )
    asked = min(milliseconds(lambda: has_nothing_to_refine(room_of(reference))) for _ in range(ROUNDS))
    print(f"has_nothing_to_refine: {asked:.2f} ms")


if __name__ == "__main__":
    main()
