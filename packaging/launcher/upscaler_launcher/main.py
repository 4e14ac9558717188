"""A start: the environment in use is started; where there is none, or a newer one is wanted, it is made first."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .building import Builder, BuildError
from .environments import Environments, default_root
from .isolation import for_program, no_console
from .lock import only_one
from .recipe import RESOURCES, Recipe

_SOON = 20.0  # seconds; a program that fails within them has not started


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the program; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    environments = Environments(parsed.root)
    if parsed.uninstall:
        return _uninstall(environments, parsed.text)
    try:
        recipe = Recipe.read(parsed.recipe)
    except (OSError, ValueError, KeyError) as error:
        print(f"upscaler: its installation is damaged ({error!r}); install it again", file=sys.stderr)
        return 1
    if parsed.repair and environments.is_complete(recipe.id):
        environments.distrust(recipe.id)
    id = environments.current
    if id != recipe.id:
        id = _make(recipe, environments, parsed)
    if id is None:
        return 1
    return 0 if parsed.set_up_only else _start(id, environments, parsed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="upscaler-app", description="Start upscaler; the first start sets it up.")
    parser.add_argument("paths", nargs="*", metavar="FILE or FOLDER", help="what to open")
    parser.add_argument("--repair", action="store_true", help="make the environment again, from what was downloaded")
    parser.add_argument(
        "--uninstall", action="store_true", help="remove the environment, and ask about models and history"
    )
    parser.add_argument("--text", action="store_true", help="no window: lines on the terminal")
    parser.add_argument("--set-up-only", action="store_true", help="do not start the program")
    parser.add_argument("--index", metavar="URL", help="a package index in place of the usual one")
    parser.add_argument("--root", type=Path, default=default_root(), help="where the environments are kept")
    parser.add_argument("--recipe", type=Path, default=RESOURCES, help=argparse.SUPPRESS)
    parser.add_argument("--uv", type=Path, help=argparse.SUPPRESS)
    return parser


def _make(recipe: Recipe, environments: Environments, parsed: argparse.Namespace) -> str | None:
    """The environment to start: the new one, or the one in use where that is wanted."""
    before = environments.current
    with only_one(environments.root) as alone:
        if not alone:
            _say("upscaler is being set up by another window.", parsed.text)
            return None
        if environments.is_complete(recipe.id):  # the other one was faster
            return recipe.id
        uv = parsed.uv or find_uv()
        if uv is None:
            _say("The installation is damaged: uv is missing. Install upscaler again.", parsed.text)
            return before
        builder = Builder(recipe, environments, uv, index=parsed.index)
        if _built(builder, environments.root / "set-up.log", parsed.text, update=before is not None):
            return recipe.id
    return before


def _built(builder: Builder, log: Path, text: bool, *, update: bool) -> bool:
    if not text:
        from .window import set_up

        return set_up(builder, log, update=update)
    builder.note = lambda line: print(line, flush=True)
    try:
        builder.build()
    except BuildError as error:
        print(f"upscaler: {error}", file=sys.stderr)
        return False
    return True


def _start(id: str, environments: Environments, parsed: argparse.Namespace) -> int:
    """Run the program of an environment; where it does not start, the environment before."""
    paths = [str(Path(path).absolute()) for path in parsed.paths]
    command = [str(environments.python(id)), *environments.start_of(id), *paths]
    began = time.monotonic()
    try:
        code = _run(command, parsed.text)
    except OSError:
        code = -1
    if code in (0, 2, 3, 130) or time.monotonic() - began > _SOON:  # of the command line: usage, a picture, Ctrl-C
        return code
    environments.distrust(id)
    previous = environments.fall_back()
    if previous is None:
        _say("upscaler does not start. Start it again to have it set up anew.", parsed.text)
        return code
    _say("The new version does not start; the one before is used again.", parsed.text)
    return _start(previous, environments, parsed)


def _run(command: Sequence[str], text: bool) -> int:
    """Run the program; returns its exit code. Raises: OSError."""
    if sys.platform == "darwin" and not text:
        from .window import application

        return application().run(command, for_program())
    return subprocess.run(command, env=for_program(), check=False, **no_console()).returncode


def _uninstall(environments: Environments, text: bool) -> int:
    """Ask what is to go, all at once, and remove it: gigabytes take their time."""
    with only_one(environments.root) as alone:
        if not alone:
            _say("upscaler is being set up by another window.", text)
            return 1
        found = {"what was downloaded": environments.root, **own_data()}
        unwanted = [folder for name, folder in found.items() if folder.exists() and _is_unwanted(name, folder, text)]
        if environments.root in unwanted:
            environments.forget()
        for folder in unwanted:
            shutil.rmtree(folder, ignore_errors=True)
    if environments.root in unwanted:
        shutil.rmtree(
            environments.root, ignore_errors=True
        )  # and the lock, which Windows does not remove while it is held
    return 0


def _is_unwanted(name: str, folder: Path, text: bool) -> bool:
    """Without a window only what was downloaded goes."""
    if not text:
        from .window import ask

        return ask("Uninstall upscaler", f"Remove {name}?\n\n{folder}", "&Remove", "&Keep")
    if name in own_data():
        print(f"kept: {name} in {folder}")
        return False
    return True


def own_data() -> dict[str, Path]:
    """What the user has made or put there, by what it is called."""
    data = default_root().with_name("upscaler")
    return {"your models": data / "models", "your history of results": data / "history"}


def find_uv() -> Path | None:
    """The uv that came with the launcher."""
    name = "uv.exe" if sys.platform == "win32" else "uv"
    beside = RESOURCES / name
    if beside.is_file():
        return beside
    try:
        from uv import find_uv_bin
    except ImportError:
        return None
    try:
        return Path(find_uv_bin())
    except FileNotFoundError:
        return None


def _say(sentences: str, text: bool) -> None:
    print(f"upscaler: {sentences}", file=sys.stderr, flush=True)
    if not text:
        from .window import tell

        tell("upscaler", sentences)
