"""Where the user's own files are kept, and how a file is written so that it is never half there."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import platformdirs


def data_folder() -> Path:
    """What the user made or put there: models and presets."""
    return Path(platformdirs.user_data_dir("upscaler", appauthor=False))


def state_folder() -> Path:
    """What the program remembers of this machine, and what may be lost."""
    return Path(platformdirs.user_state_dir("upscaler", appauthor=False))


@contextmanager
def whole_or_absent(path: Path) -> Generator[IO[bytes], None, None]:
    """A file to write to that takes its name when the block has ended well, and leaves nothing where it has not.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with draft.open("x+b") as stream:
            yield stream
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no such file, or something else in it."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def replace_text(path: Path, text: str) -> None:
    """Write a file that is whole or absent at every moment, in a folder that is made where it is missing.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_absent(path) as stream:
        stream.write(text.encode("utf-8"))
