"""The help of commands with many options: those that people use, and all of them; and what was meant by a mistyped flag."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import SettingsError

COMMON = frozenset(
    (
        "--output",
        "--preset",
        "--scale",
        "--size",
        "--strength",
        "--model",
        "--prompt",
        "--format",
        "--compare",
        "--overwrite",
    )
)
"""The options that the short help shows."""

_ALWAYS = frozenset(("--help", "--help-all", "--replace"))


class Parser(argparse.ArgumentParser):
    """A parser whose help can be short: `shorten` makes it so."""

    _short = False

    def shorten(self, usage: str) -> None:
        """Show only `COMMON` options in the help, and all of them by `--help-all`.

        Args:
            usage: what to show instead of the list of all flags.
        """
        self.usage = usage
        self._short = True
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show all options")

    def format_help(self) -> str:
        if not self._short:
            return super().format_help()
        shown = COMMON | _ALWAYS
        hidden = [action for action in self._actions if action.option_strings and not shown & {*action.option_strings}]
        texts = [action.help for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            return super().format_help()
        finally:
            for action, text in zip(hidden, texts):
                action.help = text

    def format_full_help(self) -> str:
        """The help with all options."""
        return super().format_help()

    @property
    def flags(self) -> list[str]:
        """All flags, `--no-` forms included."""
        return [flag for action in self._actions for flag in action.option_strings]

    def command(self, name: str) -> Parser | None:
        """The parser of one of the commands."""
        for action in self._actions:
            if isinstance(action.choices, dict):
                return action.choices.get(name)
        return None


class _HelpAll(argparse.Action):
    def __call__(self, parser: Any, *_: Any, **__: Any) -> None:
        print(parser.format_full_help(), end="")
        parser.exit()


def parse(parser: Parser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments.

    Raises:
        SettingsError: an argument that the command does not have; names the flag that was meant.
    """
    parsed, unknown = parser.parse_known_args(arguments)
    if not unknown:
        return parsed
    first = unknown[0].split("=")[0]
    command = parser.command(parsed.command)
    close = get_close_matches(first, command.flags, n=1, cutoff=0.6) if command and first.startswith("-") else []
    hint = f"did you mean {close[0]}?" if close else f"`upscaler {parsed.command} --help` shows what there is"
    raise SettingsError(f"{first}: {'no such option' if first.startswith('-') else 'not expected here'}; {hint}")
