"""The command `upscaler`, which can be stopped from its first moment on.

It stands outside the package because importing that takes a quarter of a second, in which Ctrl-C would be a traceback.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line and return its exit code."""

    def stop(number: int, frame: object) -> None:
        os.write(2, b"upscaler: stopped\n")
        os._exit(128 + number)  # nothing has been begun that would have to be ended

    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    from upscaler.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
