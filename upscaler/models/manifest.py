"""What can be fetched from the hub: `weights/fetch.toml`, and where each of it goes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from .. import weights
from ..errors import WeightsNotFound
from ..text import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of a repository; size in bytes and SHA-256 in hexadecimal digits where they are known beforehand."""

    path: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model that can be fetched.

    Attributes:
        revision: a commit, or "main" where none is pinned.
        free: whether the licence asks nothing of who uses the model.
    """

    name: str
    kind: weights.Kind
    family: str
    repository: str
    licence: str
    free: bool
    purpose: str
    files: tuple[Remote, ...]
    revision: str = "main"

    def target(self, folder: Path) -> Path:
        """What it becomes in a folder of models: a file under the model's name, or a folder."""
        first, *others = self.files
        return folder / (self.name if others else f"{self.name}{PurePosixPath(first.path).suffix}")


@cache
def entries() -> tuple[Entry, ...]:
    """All models that can be fetched."""
    tables: list[dict[str, Any]] = tomllib.loads((weights.bundled_folder() / "fetch.toml").read_text("utf-8"))["model"]
    return tuple(
        Entry(
            **{key: value for key, value in table.items() if key != "file"},
            files=tuple(Remote(**f) for f in table["file"]),
        )
        for table in tables
    )


def entry(name: str) -> Entry:
    """The model of that name.

    Raises:
        WeightsNotFound: there is none.
    """
    for candidate in entries():
        if candidate.name == name:
            return candidate
    raise WeightsNotFound(
        f"no model {name!r} can be fetched ({did_you_mean(name, [e.name for e in entries()])}); "
        "`upscaler models fetch` without a name shows all"
    )
