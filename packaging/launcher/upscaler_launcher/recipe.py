"""What an environment consists of, as the installer brings it in a folder with `recipe.json`."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESOURCES = Path(__file__).parent / "resources"
_UNKNOWN = (3_500_000_000, 8_000_000_000)  # bytes, where this kind of machine was not measured


@dataclass(frozen=True)
class Recipe:
    """How an environment is made, checked and started.

    Attributes:
        version: of the program, as people say it.
        python: which Python it needs, as uv understands it, such as "3.12" or ">=3.10".
        lock: a file of requirements, every one of them with its version and its hashes.
        wheels: files that are brought along and installed as they are.
        accelerated: requirements that are first tried in the build that fits the hardware, such as "torch".
        check: arguments of its Python that succeed if the environment works.
        start: arguments of its Python that start the program; paths to open follow.
        download, disk: bytes, as they were measured on this kind of machine.
    """

    version: str
    python: str
    lock: Path
    wheels: tuple[Path, ...]
    accelerated: tuple[str, ...]
    check: tuple[str, ...]
    start: tuple[str, ...]
    download: int
    disk: int

    @property
    def id(self) -> str:
        """A name that changes with anything that the environment consists of."""
        digest = hashlib.sha256(repr((self.python, self.accelerated, self.check)).encode())
        for path in (self.lock, *self.wheels):
            digest.update(path.name.encode() + path.read_bytes())
        return f"{self.version}-{digest.hexdigest()[:12]}"

    @staticmethod
    def read(folder: Path = RESOURCES) -> Recipe:
        """The recipe in a folder.

        Raises:
            OSError, ValueError, KeyError: the installation of the launcher itself is damaged.
        """
        values: dict[str, Any] = json.loads((folder / "recipe.json").read_text("utf-8"))
        download, disk = values.get("sizes", {}).get(machine(), _UNKNOWN)
        return Recipe(
            version=values["version"],
            python=values["python"],
            lock=folder / values["lock"],
            wheels=tuple(folder / name for name in values["wheels"]),
            accelerated=tuple(values.get("accelerated", ())),
            check=tuple(values["check"]),
            start=tuple(values["start"]),
            download=download,
            disk=disk,
        )


def machine() -> str:
    """The kind of this machine, such as "linux-x86_64"."""
    return f"{platform.system()}-{platform.machine()}".lower()
