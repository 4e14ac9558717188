"""The command line: `upscaler run | plan | presets | models | doctor | inspect`, and what front ends add to it.

Results go to stdout, progress and notices to stderr; a command goes on where one of them is closed or full. Exit codes
are those of `upscaler.errors`; 1 when some of several pictures failed; 128 and the number of the signal that stopped it,
130 after Ctrl-C, which keeps what was finished.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import MACHINE, Cancelled, UpscalerError, ours
from ..memory import reuse_freed_memory
from .help import parse
from .parser import make_parser
from .process import safe_streams, stoppable
from .terminal import complain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    reuse_freed_memory()
    with safe_streams() as output, stoppable() as asked:
        try:
            code = _run(parse(make_parser(), arguments))
        except KeyboardInterrupt:
            complain(Cancelled("stopped"))
            code = Cancelled.exit_code
        except (UpscalerError, *MACHINE) as error:
            complain(ours(error))
            code = ours(error).exit_code
        output.flush()
        if code == Cancelled.exit_code and asked.number:
            return 128 + asked.number
        return code or int(output.failed)


def _run(parsed: argparse.Namespace) -> int:
    from .models import models_command
    from .presets import presets_command
    from .run import run_command
    from .show import doctor_command, inspect_command, plan_command

    commands = {
        "run": plan_command if getattr(parsed, "dry_run", False) else run_command,
        "plan": plan_command,
        "presets": presets_command,
        "models": models_command,
        "doctor": doctor_command,
        "inspect": inspect_command,
    }
    return (commands.get(parsed.command) or parsed.call)(parsed)
