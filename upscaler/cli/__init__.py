"""The command line: `upscaler run | plan | presets | models | doctor | inspect`, and what front ends add to it.

Results go to stdout, progress and notices to stderr. Exit codes are those of `upscaler.errors`; 1 when some of several
pictures failed, 130 after Ctrl-C, which keeps what was finished.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Cancelled, UpscalerError
from .help import parse
from .parser import make_parser
from .terminal import complain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        parsed = parse(make_parser(), arguments)
    except UpscalerError as error:
        complain(error)
        return error.exit_code
    from .presets import presets_command
    from .run import run_command
    from .show import doctor_command, inspect_command, models_command, plan_command

    commands = {
        "run": plan_command if getattr(parsed, "dry_run", False) else run_command,
        "plan": plan_command,
        "presets": presets_command,
        "models": models_command,
        "doctor": doctor_command,
        "inspect": inspect_command,
    }
    try:
        return (commands.get(parsed.command) or parsed.call)(parsed)
    except UpscalerError as error:
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return Cancelled.exit_code
    except BrokenPipeError:
        return 1
