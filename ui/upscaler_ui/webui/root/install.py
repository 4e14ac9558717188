"""Run by the host when it starts: installs those of our small requirements that it lacks, and nothing else."""

from pathlib import Path

import launch
from packaging.requirements import Requirement

for line in (Path(__file__).parent / "requirements.txt").read_text("utf-8").splitlines():
    if not line or line.startswith("#"):
        continue
    needed = Requirement(line)
    if (needed.marker is None or needed.marker.evaluate()) and not launch.is_installed(needed.name):
        launch.run_pip(f"install {needed.name}", f"{needed.name}, for the tiled diffusion upscaler")
