"""Make what the launcher brings along: `python packaging/make_resources.py FOLDER`, from the root of the repository.

FOLDER/recipe.json lock.txt upscaler.svg uv and the wheel of upscaler. `--lock` first resolves the lock again, from
pyproject.toml and constraints.txt: do so when these have changed. Needs uv.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
PYTHON = "3.11"  # the oldest one that the lock is for
CHECK = """
import sys
import gradio, torch, torchvision, diffusers, PySide6.QtWebEngineWidgets
from upscaler.cli import main
sys.exit(main(["models", "verify"]))
"""


def main() -> int:
    """Make the folder; returns an exit code."""
    parser = argparse.ArgumentParser(description="Make what the launcher brings along.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lock", action="store_true", help="resolve packaging/lock.txt again")
    parser.add_argument("--uv", default=shutil.which("uv"), help="default is the one on the path")
    parsed = parser.parse_args()
    if parsed.uv is None:
        sys.exit("make_resources: uv is not on the path; run: pip install uv")
    if parsed.lock:
        resolve(parsed.uv)
    shutil.rmtree(parsed.folder, ignore_errors=True)
    parsed.folder.mkdir(parents=True)
    build = ["build", "--wheel", "--quiet", "--out-dir", str(parsed.folder), str(ROOT)]
    subprocess.run([parsed.uv, *build], check=True)
    (parsed.folder / ".gitignore").unlink(missing_ok=True)
    wheel = next(parsed.folder.glob("*.whl"))
    shutil.copy(HERE / "lock.txt", parsed.folder)
    shutil.copy(ROOT / "ui" / "upscaler_ui" / "desktop" / "assets" / "icon.svg", parsed.folder / "upscaler.svg")
    shutil.copy(parsed.uv, parsed.folder / Path(parsed.uv).name)
    (parsed.folder / "recipe.json").write_text(json.dumps(recipe(wheel), indent=1), "utf-8")
    return 0


def recipe(wheel: Path) -> dict[str, object]:
    """What the launcher reads, see `upscaler_launcher.recipe`."""
    return {
        "version": wheel.name.split("-")[1],
        "python": f">={PYTHON},<3.14",
        "lock": "lock.txt",
        "wheels": [wheel.name],
        "accelerated": ["torch", "torchvision"],
        "check": ["-c", CHECK],
        "start": ["-s", "-m", "upscaler", "desktop"],
        "sizes": json.loads((HERE / "sizes.json").read_text("utf-8")),
    }


def resolve(uv: str) -> None:
    """Write the lock: every package for every system, with versions and hashes."""
    command = [
        uv,
        "pip",
        "compile",
        "pyproject.toml",
        "--extra",
        "desktop",
        "--constraint",
        "constraints.txt",
        "--quiet",
    ]
    more = ["--universal", "--python-version", PYTHON, "--generate-hashes", "--no-header", "--no-annotate"]
    subprocess.run([*command, *more, "--output-file", str(HERE / "lock.txt")], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
