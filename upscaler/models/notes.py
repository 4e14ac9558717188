"""What this version has found out about models on this machine: short texts by key, one file for each kind of them.

A file may be lost or damaged at any time; what is missing is found out anew.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from .. import __version__, folders

MOST = 500
"""Texts that a file keeps, the most recent ones."""


class Notes:
    """The texts in one file of the state folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, key: str) -> str | None:
        """The text at that key, if there is one."""
        return self._read().get(_versioned(key))

    def put(self, key: str, text: str) -> None:
        """Keep a text; it is not missed where that fails."""
        texts = self._read()
        texts.pop(_versioned(key), None)  # the most recent ones stand last
        texts[_versioned(key)] = text
        with suppress(OSError):
            folders.replace_text(self._file(), json.dumps(dict(list(texts.items())[-MOST:]), indent=0))

    def _read(self) -> dict[str, str]:
        return {key: value for key, value in folders.read_object(self._file()).items() if isinstance(value, str)}

    def _file(self) -> Path:
        return folders.state_folder() / self._name


def _versioned(key: str) -> str:
    return f"upscaler {__version__} | {key}"
