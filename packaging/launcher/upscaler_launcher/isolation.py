"""How uv and the program are started: the user's own configuration of Python tools does not leak in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_KEPT = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TEMP", "TMP"),
    *("USERPROFILE", "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "WINDIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
}
"""How the system is found, and the way to the network."""

_PYTHON = ("PYTHON", "PIP_", "UV_", "VIRTUAL_ENV", "CONDA", "PYENV", "PIPX_", "POETRY_")
"""What variables of Python tools begin with."""


def for_uv(root: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for uv: no configuration file of anybody, a cache and interpreters of our own.

    Args:
        root: the folder that all of the program's environments are in.
    """
    given = os.environ if environment is None else environment
    kept = {name: value for name, value in given.items() if name.upper() in _KEPT}
    return {
        **kept,
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(root / "cache"),
        "UV_PYTHON_INSTALL_DIR": str(root / "python"),
        "UV_NO_PROGRESS": "1",
        "UV_KEYRING_PROVIDER": "disabled",
        "UV_SYSTEM_CERTS": "1",  # many networks, of companies above all, have an authority of their own
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONNOUSERSITE": "1",
    }


def no_console() -> dict[str, int]:
    """Arguments of `subprocess` that keep Windows from opening a console for each program that has none."""
    return {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}


def for_program(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for the program: the user's, less those of Python tools, which would put other packages in its way."""
    given = os.environ if environment is None else environment
    kept = {name: value for name, value in given.items() if not name.upper().startswith(_PYTHON)}
    return {**kept, "PYTHONNOUSERSITE": "1"}
