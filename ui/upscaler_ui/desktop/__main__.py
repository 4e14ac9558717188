"""`python -m upscaler_ui.desktop [FILE or FOLDER ...]`: as `upscaler desktop`."""

from __future__ import annotations

import argparse
import sys

from upscaler.cli.terminal import complain
from upscaler.errors import UpscalerError

from ..commands import desktop_arguments
from .command import start


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="upscaler desktop")
    desktop_arguments(parser)
    try:
        return start(parser.parse_args())
    except UpscalerError as error:
        complain(error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
