"""Where what does not come with the package is kept, and how a small file there is written. Nothing is created by asking."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import platformdirs


def data_folder() -> Path:
    """What the user made or put there: models and presets."""
    return Path(platformdirs.user_data_dir("upscaler", appauthor=False))


def state_folder() -> Path:
    """What the program remembers of this machine, and what may be lost."""
    return Path(platformdirs.user_state_dir("upscaler", appauthor=False))


def replace_text(path: Path, text: str) -> None:
    """Write a file that is whole or absent at every moment, in a folder that is made where it is missing.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        draft.write_text(text, "utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
