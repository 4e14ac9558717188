"""The commands that the front ends add to the command line, by the entry points in `pyproject.toml`.

Nothing of a front end is imported before its command runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_ui(commands: Any) -> None:
    """`upscaler ui`: the app."""
    parser = commands.add_parser(
        "ui", help="open the app", description="Open the app in the browser, or in a window of its own."
    )
    parser.add_argument("--desktop", action="store_true", help="the same as `upscaler desktop`")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    parser.add_argument("--port", type=int, metavar="N", help="default is the first free port from 7860")
    parser.add_argument(
        "--listen", action="store_true", help="also accept other machines; needs a login, --no-auth or --one-user"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        help="a name of this machine under which the app may be reached",
    )
    login = parser.add_mutually_exclusive_group()
    login.add_argument("--auth", metavar="USER:PASSWORD", help="require this login")
    login.add_argument(
        "--no-auth", action="store_true", help="with --listen: require no login; each visitor's results are kept apart"
    )
    login.add_argument(
        "--one-user", action="store_true", help="with --listen: require no login; all visitors share one kept history"
    )
    parser.set_defaults(call=_ui)


def _ui(parsed: argparse.Namespace) -> int:
    if parsed.desktop:
        from .desktop.command import start_as_ui as start
    else:
        from .app.start import start
    return start(parsed)


def add_desktop(commands: Any) -> None:
    """`upscaler desktop`: the app in a window."""
    parser = commands.add_parser(
        "desktop",
        help="open the app in a window of its own",
        description="Open the app in a window. Pictures are read where they lie, and results are saved beside them. "
        "If a window is open already, it takes the pictures.",
    )
    desktop_arguments(parser)


def desktop_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `upscaler desktop`."""
    parser.add_argument("paths", nargs="*", metavar="FILE or FOLDER", help="pictures, or folders with pictures")
    parser.set_defaults(call=_desktop)


def _desktop(parsed: argparse.Namespace) -> int:
    from .desktop.command import start

    return start(parsed)


def add_mcp(commands: Any) -> None:
    """`upscaler mcp`: tools for language models."""
    parser = commands.add_parser(
        "mcp",
        help="serve tools to a language model (MCP)",
        description="Answer a program that speaks the Model Context Protocol on standard input and output, with the tools "
        "plan, upscale and models.",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="pictures are read and written only in here; may be given several times",
    )
    parser.set_defaults(call=_mcp)


def _mcp(parsed: argparse.Namespace) -> int:
    import importlib.util

    from upscaler.errors import UpscalerError

    if importlib.util.find_spec("mcp") is None:
        raise UpscalerError(
            'the MCP server needs the package mcp, which is not installed; run: pip install "tiled-diffusion-upscaler[mcp]"'
        )
    from .mcp_server import serve

    serve(parsed.folder)
    return 0


def add_install_plugin(commands: Any) -> None:
    """`upscaler install-plugin`: copy a plugin into its host."""
    parser = commands.add_parser(
        "install-plugin",
        help="copy the plugin into ComfyUI or a WebUI",
        description="Copy a plugin, with all that it needs, into its host. Run it again to update.",
    )
    parser.add_argument("host", choices=("comfyui", "webui"), help="webui: AUTOMATIC1111 or Forge")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the host is installed")
    parser.add_argument("--uninstall", action="store_true", help="remove the plugin")
    parser.set_defaults(call=_install_plugin)


def _install_plugin(parsed: argparse.Namespace) -> int:
    from .install import install_command

    return install_command(parsed)
