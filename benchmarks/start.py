"""How long it takes from the start of a process until the first tile of a run is at work, with the bundled models.

    python -m benchmarks.start [--times 5] [--against DIR]

Each time a fresh process, with all files in the system's cache and all choices made; `DIR` is the root of another checkout of
this project, which takes turns with this one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]
_RUN = """
import os, sys, time
start = time.perf_counter()
sys.path.insert(0, sys.argv[1])
import upscaler
from upscaler.events import Progress
for event in upscaler.run(sys.argv[2], scale=4, device="cpu"):
    if isinstance(event, Progress) and event.boxes:
        break
print(time.process_time(), time.perf_counter() - start, flush=True)
os._exit(0)
"""


def measure(checkout: Path) -> tuple[float, float]:
    """Seconds of the processor, and of the clock."""
    command = [sys.executable, "-c", _RUN, str(checkout), str(HERE / "examples" / "photo.png")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(told[0]), float(told[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout")
    given = parser.parse_args()
    checkouts = [HERE, *([given.against.resolve()] if given.against else [])]
    for checkout in checkouts:
        measure(checkout)  # warm
    found = {checkout: [] for checkout in checkouts}
    for _ in range(given.times):
        for checkout in checkouts:
            found[checkout].append(measure(checkout))
    for checkout, seconds in found.items():
        processor, clock = (min(each) for each in zip(*seconds))
        print(f"{checkout}: at best {processor:.2f} s of the processor, {clock:.2f} s")


if __name__ == "__main__":
    main()
