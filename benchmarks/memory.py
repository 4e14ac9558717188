"""How well `upscaler plan` tells what memory a run takes: what it predicts against the peak of the process, model included.

    python -m benchmarks.memory [--models none/none realesr-animevideov3/pocket ...] [--sides 256 512] [--scale 4]

Each run is the command itself in a fresh process, from a PNG to a PNG, with the first and the second model as named. The
peak is that of the process as the system counts it (VmHWM, so on Linux alone). A ratio below one is a run that takes more
than was said. Run it twice: the first time a network is loaded on a machine, all ways to run it are tried.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from upscaler import plan
from upscaler.options.settings import Settings

MODELS = (
    "none/none",
    "realesr-animevideov3/none",
    "realesrgan-x4plus-anime/none",
    "realesrgan-x4plus/none",
    "none/pocket",
    "realesr-animevideov3/pocket",
    "realesrgan-x4plus/pocket",
)
_RUN = """
import sys
from upscaler.cli import main
code = main(sys.argv[1:])
lines = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
sys.exit(code)
"""


def peak(source: Path, result: Path, flags: list[str]) -> int:
    """Bytes that a run of the command takes at most."""
    command = [sys.executable, "-c", _RUN, "run", str(source), "-o", str(result), "--overwrite", "--quiet", *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--scale", type=float, default=4)
    parser.add_argument("--precision", default="auto", help="as of upscaler run")
    parser.add_argument("--steps", type=int, default=0, help="as of upscaler run; they take time and no memory")
    parsed = parser.parse_args()
    worst = 1.0
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "source.png", Path(folder) / "result.png"
        for models in parsed.models:
            gan, model = models.split("/", 1)  # what names a folder has more of them
            for side in parsed.sides:
                samples = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
                Pillow.fromarray(samples).save(source)
                options = {"gan": gan, "model": model, "scale": parsed.scale, "precision": parsed.precision}
                predicted = plan(source, Settings.of(device="cpu", **options)).memory_bytes
                flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
                measured = peak(source, result, [*flags, "--device", "cpu", "--steps", str(parsed.steps)])
                assert predicted is not None, f"what {models} takes is not known"
                ratio = predicted / measured
                worst = max(worst, ratio, 1 / ratio)
                print(
                    f"{models:32} {side:>5}² x{parsed.scale:g}: {predicted >> 20:>5} MiB predicted, "
                    f"{measured >> 20:>5} measured, {ratio:.2f}",
                    flush=True,
                )
    print(f"at worst {worst:.2f} times")


if __name__ == "__main__":
    main()
