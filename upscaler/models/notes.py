"""What this version has found out about models on this machine: short texts by key, one file for each kind of them.

A file may be lost or damaged at any time; what is missing is found out anew.
"""

from __future__ import annotations

from pathlib import Path

from .. import __version__, folders


class Notes:
    """The texts in one file of the state folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, key: str) -> str | None:
        """The text at that key, if there is one."""
        return self._read().get(_versioned(key))

    def put(self, key: str, text: str) -> None:
        """Keep a text; it is not missed where that fails."""
        folders.note(self._file(), self._read(), {_versioned(key): text})

    def _read(self) -> dict[str, str]:
        return {key: value for key, value in folders.read_object(self._file()).items() if isinstance(value, str)}

    def _file(self) -> Path:
        return folders.state_folder() / self._name


def _versioned(key: str) -> str:
    return f"upscaler {__version__} | {key}"
