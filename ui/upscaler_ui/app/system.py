"""What the app asks of the operating system."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from upscaler.pictures.files import SUFFIXES


def pictures_in(paths: Sequence[str] | None) -> list[str]:
    """Those of the paths that are pictures by their name, sorted."""
    return sorted(path for path in paths or () if Path(path).suffix.lower() in SUFFIXES)


def open_folder(folder: Path) -> None:
    """Show what is in a folder, as `reveal` shows a file."""
    command = {"win32": "explorer", "darwin": "open"}.get(sys.platform, "xdg-open")
    _start([command, str(folder)])


def reveal(path: Path) -> None:
    """Show a file in its folder, in whatever program the system has for that; nothing where it has none."""
    if sys.platform == "win32":
        command = ["explorer", "/select,", str(path)]
    elif sys.platform == "darwin":
        command = ["open", "-R", str(path)]
    else:
        command = ["xdg-open", str(path.parent)]
    _start(command)


def _start(command: list[str]) -> None:
    with contextlib.suppress(OSError):
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
