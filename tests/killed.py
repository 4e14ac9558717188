"""A program that makes a picture or a folder of them large with slow fakes, to be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import upscaler
from upscaler import loading, resume
from upscaler.arrays.types import Image
from upscaler.cli import one
from upscaler.errors import ImageError
from upscaler.events import Finished
from upscaler.geometry import Box, Size
from upscaler.models.base import OnStep
from upscaler.options.settings import Sampling, Settings
from upscaler.testing import NearestUpscaler, NoiseRefiner

OPTIONS = {"scale": 4, "tile": 128, "overlap": 32, "feather": 16, "gan_tile": 64, "steps": 1, "seam_width": 32}
ROOT = Path(__file__).parents[1]


@dataclass
class SlowRefiner(NoiseRefiner):
    seconds: float = 0.02

    def batch_size(self, tile: Size) -> int:
        return 1

    def __call__(
        self, tiles: Sequence[Image], *, boxes: Sequence[Box], sampling: Sampling, seed: int, on_step: OnStep
    ) -> list[Image]:
        time.sleep(self.seconds * len(tiles))
        return super().__call__(tiles, boxes=boxes, sampling=sampling, seed=seed, on_step=on_step)


def enlarge(source: Path, output: Path) -> None:
    """As `upscaler run` does it, with fakes."""
    if one.finish_off(output):
        return
    events = upscaler.run(
        upscaler.load(source),
        Settings.of(**OPTIONS),
        upscaler=NearestUpscaler(),
        refiner=SlowRefiner(),
        progress=resume.folder_for(output),
    )
    for event in events:
        if isinstance(event, Finished):
            upscaler.save(event.picture, output, settings_json=event.settings.to_json())


def enlarge_folder(source: Path, output: Path) -> int:
    """`upscaler run SOURCE -o OUTPUT/` with fakes."""
    from upscaler.cli import main

    loading.upscaler_for = lambda settings: NearestUpscaler()
    loading.refiner_for = lambda settings: SlowRefiner()
    flags = ["-t", "128", "--overlap", "32", "--feather", "16", "-q", "--keep-progress"]
    with (output.parent / "calls").open("a") as calls:
        return main_with_calls(main, [*("run", f"{source}", "-o", f"{output}/"), *flags], calls)


def main_with_calls(main, arguments, calls):  # type: ignore[no-untyped-def]
    save = one.save

    def noted(picture, path, **options):  # type: ignore[no-untyped-def]
        result = save(picture, path, **options)
        calls.write(f"{path.name}\n")
        calls.flush()
        return result

    one.save = noted
    return main(arguments)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """This program in a process of its own."""
    command = [sys.executable, "-m", "tests.killed", *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "ui")])
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE)


def run_and_kill(*arguments: object, after: float, by: int = signal.SIGKILL) -> bool:
    """Run the program and kill it after some seconds; whether it was killed before its end."""
    process = start(*arguments)
    try:
        _, told = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(by)
        process.communicate()
        return True
    assert process.returncode == 0, told.decode()
    return False


if __name__ == "__main__":
    what, source, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    try:
        sys.exit(enlarge_folder(source, output) if what == "folder" else enlarge(source, output))
    except ImageError as error:
        sys.exit(str(error))
