"""The app in a window of its own, drawn by the web engine of the system.

The window is a process of its own: web engines have crashed beside the libraries of networks, and a crash there must
not end a run.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection

from upscaler.text import one_line

TITLE = "upscaler"


def show_window(url: str) -> str | None:
    """Show the app until its window is closed; returns why there cannot be a window, or `None`."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_window, args=(url, theirs))
    process.start()
    theirs.close()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the end of this process is an orderly one
    try:
        process.join()
    except KeyboardInterrupt:
        process.terminate()
        process.join()
        return None
    try:
        return str(ours.recv())
    except EOFError:  # it had nothing to say
        return f"its process ended with {process.exitcode}" if process.exitcode else None


def _window(url: str, reason: Connection) -> None:
    """Show the window until it is closed, in the main thread of its process; or send why it cannot be shown."""
    try:
        import webview

        # it logs a traceback for each web engine that is missing
        logging.getLogger("pywebview").setLevel(logging.CRITICAL)
        webview.settings["ALLOW_DOWNLOADS"] = True
        webview.create_window(TITLE, url, width=1360, height=900, min_size=(390, 600))
        webview.start()
    except ImportError:
        reason.send("pywebview is not installed; run: pip install 'tiled-diffusion-upscaler[desktop]'")
    except Exception as error:  # every engine fails in its own way, and the browser remains
        reason.send(one_line(error))
