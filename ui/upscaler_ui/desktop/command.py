"""`upscaler desktop`: a window in a process of its own, or one line and the browser.

Qt and Chromium end their process when something is missing, with messages of their own; so this process stays outside
and says what happened.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import subprocess
import sys
import webbrowser
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from upscaler.errors import ImageError, SettingsError, UpscalerError

from .preflight import missing, reason_of

UP = "up"
HANDED_OVER = "handed over"
"""What the window's process prints when there is a window, or when another one has taken what was to be opened."""


def start(parsed: argparse.Namespace, *, browser: bool = True) -> int:
    """Open the window with the given pictures; returns when it is closed, or when another window has taken them.

    Args:
        browser: open the browser where there cannot be a window; else only its address is said.

    Raises:
        ImageError: one of the paths does not exist.
        UpscalerError: the app is not installed.
    """
    paths = [Path(name).absolute() for name in parsed.paths]
    for path in paths:
        if not path.exists():
            raise ImageError(f"{path}: does not exist; give pictures, or folders with pictures")
    if importlib.util.find_spec("gradio") is None:
        raise UpscalerError(
            'the window needs the app, which is not installed; run: pip install "tiled-diffusion-upscaler[desktop]"'
        )
    reason = missing()
    if reason is None:
        code, reason = _window(paths)
        if reason is None:
            return code
    instead = "opening the browser instead" if browser else "serving the app without one"
    print(f"upscaler: cannot open a window ({reason}); {instead}", file=sys.stderr, flush=True)
    return _serve(paths, browser=browser)


def start_as_ui(parsed: argparse.Namespace) -> int:
    """`upscaler ui --desktop`, the older way to say it.

    Raises:
        SettingsError: together with what only a server for others has.
    """
    for flag, given in (("--listen", parsed.listen), ("--auth", parsed.auth), ("--port", parsed.port)):
        if given:
            raise SettingsError(f"{flag}: --desktop opens a window that serves nobody else; leave one of the two out")
    parsed.paths = []
    return start(parsed, browser=not parsed.no_browser)


def _window(paths: Sequence[Path]) -> tuple[int, str | None]:
    """Exit code of the window's process, and why there never was a window, if so."""
    command = [sys.executable, "-m", "upscaler_ui.desktop.main", *map(str, paths)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    assert process.stdout is not None
    assert process.stderr is not None
    last: deque[str] = deque(maxlen=50)
    reader = Thread(target=_keep, args=(process.stderr, last), daemon=True)
    reader.start()
    said: set[str] = set()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for line in process.stdout:
            said.add(line.strip())
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 130, None
    reader.join(1)
    if HANDED_OVER in said:
        return 0, None
    if UP not in said:
        return code, reason_of(code, "".join(last))
    if code:
        print(f"upscaler: the window {reason_of(code, '')}".replace("the window's process", "process"), file=sys.stderr)
    return (1 if code else 0), None


def _keep(stream: IO[str], last: deque[str]) -> None:
    last.extend(stream)


def _serve(paths: Sequence[Path], *, browser: bool) -> int:
    from ..app.start import wait_for_stop
    from .server import desktop_app

    with desktop_app(window=False) as (session, address):
        if paths:
            session.choose(paths)
        print(f"upscaler is running at {address()} (good for one visit)", file=sys.stderr, flush=True)
        if browser:
            webbrowser.open(address())
        wait_for_stop()
    return 0
