"""What is missing for a window, in one line each."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping

_OWN_RISK = "QTWEBENGINE_DISABLE_SANDBOX"  # Qt's own variable
_LIBRARIES = {
    "apt": "sudo apt install libegl1 libgl1 libnss3 libasound2 libdbus-1-3 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 "
    "libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcomposite1 libxdamage1 libxrandr2 libxtst6 libxkbfile1",
    "dnf": "sudo dnf install mesa-libEGL mesa-libGL nss alsa-lib dbus-libs libxkbcommon-x11 xcb-util-cursor xcb-util-wm "
    "xcb-util-keysyms xcb-util-image xcb-util-renderutil libXcomposite libXdamage libXrandr libXtst libxkbfile",
    "pacman": "sudo pacman -S --needed libglvnd nss alsa-lib dbus libxkbcommon-x11 xcb-util-cursor xcb-util-wm "
    "xcb-util-keysyms xcb-util-image xcb-util-renderutil libxcomposite libxdamage libxrandr libxtst libxkbfile",
}
"""What Qt WebEngine needs of a distribution, as the command that installs it, by package manager."""

_PROBE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.unshare(0x10000000) != 0 or libc.unshare(0x20000000) != 0)  # a user namespace, then one of processes
"""


def missing(environment: Mapping[str, str] | None = None) -> str | None:
    """Why there cannot be a window on this machine, and what to do; `None` where nothing is known to be missing."""
    environment = os.environ if environment is None else environment
    if importlib.util.find_spec("PySide6") is None or importlib.util.find_spec("PySide6.QtWebEngineWidgets") is None:
        return 'Qt WebEngine is not installed; run: pip install "tiled-diffusion-upscaler[desktop]"'
    if sys.platform != "linux":
        return None
    if not any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        return "there is no screen: neither DISPLAY nor WAYLAND_DISPLAY is set"
    if environment.get(_OWN_RISK) == "1":
        return None
    if os.geteuid() == 0:
        return "the web engine does not run as root, where it would have no sandbox; start upscaler as an ordinary user"
    if not _has_sandbox():
        return (
            "this system does not let the web engine make its sandbox (user namespaces are restricted); allow it with "
            f"sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or set {_OWN_RISK}=1 to go without"
        )
    return None


def reason_of(code: int, output: str) -> str:
    """Why the window's process ended before there was a window, from its exit code and what it printed."""
    library = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", output)
    if library is not None:
        return f"the library {library[1]} is missing; run: {_command()}"
    if "xcb-cursor0" in output and "could not connect to display" not in output:
        return f"the library libxcb-cursor0 is missing; run: {_command()}"
    if "could not connect to display" in output or "no Qt platform plugin could be initialized" in output:
        return "the screen that DISPLAY or WAYLAND_DISPLAY names cannot be used"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = f": {lines[-1][:160]}" if lines else ""
    return f"the window's process ended with {code}{said}"


def _command() -> str:
    from shutil import which

    return next((_LIBRARIES[name] for name in ("dnf", "pacman") if which(name)), _LIBRARIES["apt"])


def _has_sandbox() -> bool:
    """Whether a process may make the namespaces that Chromium's sandbox consists of."""
    if not hasattr(ctypes.CDLL(None), "unshare"):
        return True
    done = subprocess.run([sys.executable, "-I", "-c", _PROBE], capture_output=True, check=False)
    return done.returncode == 0
