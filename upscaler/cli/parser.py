"""The arguments of the command line. Flags come from the table of settings."""

from __future__ import annotations

import argparse
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import SettingsError
from ..options.settings import options
from ..options.spec import Option
from ..text import one_line, shown
from .help import Parser
from .models import add_models

FRONT_ENDS = "upscaler.commands"
"""Entry points of front ends: functions that add a parser to the given subparsers, with what to run as `call`."""

_TITLES = {"target": "size", "gan": "super-resolution", "wavelet": "colour and noise", "output": "file"}
"""What groups of settings are called in the help, where that is not their name."""


def make_parser() -> Parser:
    top = Parser(prog="upscaler", description="Make pictures large, with real detail, no seams and the right colours.")
    top.add_argument("--version", action="version", version=f"upscaler {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="enlarge pictures", description="Enlarge pictures.")
    run.add_argument("input", nargs="+", metavar="INPUT", help="pictures, folders, patterns, or lists in .txt files")
    run.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="file, or folder for several pictures; default is NAME-large.png beside each",
    )
    run.add_argument("--compare", action="store_true", help="also write a before/after comparison beside the result")
    run.add_argument(
        "--mask",
        metavar="FILE",
        help="redraw only where this picture is white; it has the shape of the input and may have any size",
    )
    run.add_argument(
        "--keep-progress",
        action=argparse.BooleanOptionalAction,
        help="keep finished tiles beside the result, so that an interrupted run can continue; by default for runs of "
        "more than a minute",
    )
    run.add_argument("--restart", action="store_true", help="start over instead of continuing from kept progress")
    run.add_argument(
        "--scratch",
        metavar="FOLDER",
        help="where to keep pictures that are too large for memory during the run; default is the system's temporary "
        "folder",
    )
    run.add_argument(
        "--workers",
        metavar="N",
        help="run the models in N processes, or on the Ray cluster at ray://HOST:PORT; needs the extra ray",
    )
    run.add_argument(
        "--retry-failed", action="store_true", help="with several pictures, try those again that failed last time"
    )
    run.add_argument(
        "--watch", action="store_true", help="also enlarge pictures that are added to the folders, until Ctrl-C"
    )
    run.add_argument("--dry-run", action="store_true", help="only show what would be done")
    _add_folders_and_volume(run)
    _add_settings(run)
    run.shorten("upscaler run INPUT... [-o OUT] [options]")

    plan = commands.add_parser(
        "plan", help="show size, tiles and memory of a run", description="Show what a run would do. Loads no model."
    )
    plan.add_argument("input", nargs="+", metavar="INPUT", help="pictures, or folders with pictures")
    _add_folders_and_volume(plan)
    _add_settings(plan)
    plan.shorten("upscaler plan INPUT... [options]")

    _add_presets(commands)

    add_models(commands)

    doctor = commands.add_parser(
        "doctor",
        help="check this installation",
        description="Show versions, devices, memory and models, and what is wrong with them.",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument(
        "--benchmark", action="store_true", help="also try every way to run each network, and remember the fastest"
    )

    inspect = commands.add_parser(
        "inspect",
        help="show the settings that made a picture",
        description="Show which settings made a picture, as far as they are stored in it.",
    )
    inspect.add_argument("file", metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print all settings as JSON")

    for entry in sorted(entry_points(group=FRONT_ENDS), key=lambda entry: entry.name):
        entry.load()(commands)
    return top


def _add_presets(commands: Any) -> None:
    parser = commands.add_parser(
        "presets", help="list, save or share presets", description="List, save or share presets."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="list all presets")
    listed.add_argument("--json", action="store_true", help="print one JSON object per line")
    show = actions.add_parser("show", help="show what a preset sets")
    save = actions.add_parser("save", help="save the given settings as a preset")
    delete = actions.add_parser("delete", help="delete one of your presets")
    export = actions.add_parser("export", help="print a preset as JSON, or write it to a file")
    for action in (show, save, delete, export):
        action.add_argument("name", metavar="NAME")
    export.add_argument("-o", "--output", metavar="FILE", help="default is standard output")
    load = actions.add_parser("import", help="save a preset that was exported")
    load.add_argument("file", metavar="FILE")
    load.add_argument("--name", metavar="NAME", help="default is the name in the file")
    for action in (save, load):
        action.add_argument("--replace", action="store_true", help="replace a preset of this name")
    _add_settings(save)
    save.shorten("upscaler presets save NAME [options]")


def _add_folders_and_volume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-r", "--recursive", action="store_true", help="include folders inside folders")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line on standard output")
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("-q", "--quiet", action="store_true", help="show only errors")
    volume.add_argument("-v", "--verbose", action="store_true", help="also show times and seam scores")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--like", metavar="FILE", help="use the settings stored in a picture that upscaler wrote")
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="use this preset (see `upscaler presets list`); it wins over --like, and other flags win over both",
    )
    groups: dict[str, Any] = {}
    for option in options():
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(_TITLES.get(option.group, option.group))
        _add_option(groups[option.group], option)
    groups["target"].add_argument(
        "--size", type=_size, action=_SizeAction, metavar="WxH", help="exact size of the result, such as 3840x2160"
    )


def _add_option(group: Any, option: Option) -> None:
    value = "auto" if option.spec.auto and option.default == 0 else option.default
    if option.kind is bool:
        value = "on" if option.default else "off"
    default = f" (default {value})" if value not in (None, "") else ""
    keywords: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
    if option.kind is bool:
        keywords["action"] = argparse.BooleanOptionalAction
    else:
        keywords["type"] = _parse(option)
        keywords["metavar"] = _metavar(option)
    if option.spec.repeated:
        keywords["action"] = _JoinAction
    unit = f" ({option.spec.unit})" if option.spec.unit else ""
    choices = f": {', '.join(map(str, option.choices))}" if option.choices else ""
    group.add_argument(
        *reversed(option.spec.flags), help=f"{option.spec.help}{unit}{choices}{default}".replace("%", "%%"), **keywords
    )


def _metavar(option: Option) -> str:
    return (
        {int: "N", float: "X", str: "TEXT"}[option.kind]
        if not option.choices
        else "NAME"
        if option.kind is str
        else "N"
    )


def _parse(option: Option) -> Any:
    def parse(text: str) -> Any:
        try:
            if option.spec.lines and len(text) < 4096 and Path(text).is_file():
                text = _text_in(Path(text))
            return option.check(
                text if option.kind is str else option.kind(0 if text == "auto" and option.spec.auto else text)
            )
        except SettingsError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"{option.path}: ")) from None
        except ValueError:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not allowed; give {option.allowed}") from None

    return parse


def _text_in(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{file}: cannot be read as text ({one_line(error)})") from None


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a size; give WIDTHxHEIGHT, such as 3840x2160") from None
    return width, height


class _JoinAction(argparse.Action):
    """A flag that may be given several times."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest, "")
        setattr(namespace, self.dest, f"{before};{values}" if before else values)


class _SizeAction(argparse.Action):
    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        namespace.width, namespace.height = values
