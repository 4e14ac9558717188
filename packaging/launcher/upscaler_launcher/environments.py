"""Which environments there are, and which can be trusted: only one that has started once, which a marker says.

ROOT/current.json             {"current": ID, "previous": ID or null}
ROOT/environments/ID/venv/    the environment
ROOT/environments/ID/complete.json   the marker: written last, removed first
ROOT/cache/ ROOT/python/      uv's, shared by all environments

Whatever moment a process is killed at, an environment without its marker is not used: it is made again, from what has
been downloaded already.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MARKER = "complete.json"


def default_root() -> Path:
    """Where a user's environments are kept on this system."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"), "upscaler-app")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "upscaler-app"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share", "upscaler-app")


class Environments:
    """The environments below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def current(self) -> str | None:
        """The environment in use, if it can be trusted."""
        return self._trusted(self._state().get("current"))

    @property
    def previous(self) -> str | None:
        """The one that was in use before, if it can be trusted."""
        return self._trusted(self._state().get("previous"))

    def is_complete(self, id: str) -> bool:
        """Whether this one has started once, and its interpreter is still there."""
        found = _read(self.folder(id) / MARKER)
        return found.get("id") == id and self.python(id).is_file()

    def folder(self, id: str) -> Path:
        return self.root / "environments" / id

    def python(self, id: str) -> Path:
        """The interpreter of an environment."""
        parts = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
        return self.folder(id).joinpath("venv", *parts)

    def clear(self, id: str) -> None:
        """Make room for an environment; of a half one nothing is left. Raises: OSError."""
        self.distrust(id)
        folder = self.folder(id)
        if folder.exists():
            gone = folder.with_name(f".gone-{secrets.token_hex(4)}")
            os.replace(folder, gone)
            shutil.rmtree(gone, ignore_errors=True)
        folder.mkdir(parents=True)

    def start_of(self, id: str) -> list[str]:
        """Arguments of its Python that start the program of an environment."""
        return [str(part) for part in _read(self.folder(id) / MARKER).get("start", ())]

    def complete(self, id: str, start: Sequence[str]) -> None:
        """Say that this one has started once, and use it from now on; the one in use before is kept.

        Args:
            start: see `start_of`.

        Raises:
            OSError: it cannot be written; then the environment is not complete.
        """
        if hasattr(os, "sync"):
            os.sync()  # all of it is on the disk before anything says so
        _write(self.folder(id) / MARKER, {"id": id, "start": list(start)})
        before = self.current
        self._use(id, before if before != id else self.previous)

    def distrust(self, id: str) -> None:
        """This one does not work: it is not used before it is made again. Raises: OSError."""
        (self.folder(id) / MARKER).unlink(missing_ok=True)

    def fall_back(self) -> str | None:
        """Use the one before; returns it, or `None` where there is none. Raises: OSError."""
        previous = self.previous
        if previous is not None:
            self._use(previous, None)
        return previous

    def forget(self) -> None:
        """None of them is in use any more; their folders remain to be removed."""
        (self.root / "current.json").unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove the environments that nobody needs any more."""
        kept = {self._state().get("current"), self._state().get("previous")}
        with suppress(OSError):
            for folder in (self.root / "environments").iterdir():
                if folder.name not in kept:
                    with suppress(OSError):
                        (folder / MARKER).unlink(missing_ok=True)
                    shutil.rmtree(folder, ignore_errors=True)

    def _use(self, id: str, previous: str | None) -> None:
        _write(self.root / "current.json", {"current": id, "previous": previous})

    def _trusted(self, id: object) -> str | None:
        return id if isinstance(id, str) and _is_name(id) and self.is_complete(id) else None

    def _state(self) -> dict[str, Any]:
        return _read(self.root / "current.json")


def _is_name(id: str) -> bool:
    return bool(id) and not id.startswith(".") and Path(id).name == id


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    """Write a small file that is whole or absent at every moment, and on the disk afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(values, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, path)
